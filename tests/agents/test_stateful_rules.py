"""Rules that keep traces, read reward or the modulator: equal to plain loops over synapses, on every network."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

import agents
from agents import RankOne, Rule, Signals, Trace
from agents.networks import NETWORKS
from agents.networks.fast_network import FastWeightNetwork
from plastic_envs import UsageError, make_task

T, B, D, K = 6, 3, 5, 2
REWARD = D - K - 1  # the number of an observation that is the reward: before the label, where there is one

TOLERANCE = 1e-10

NETWORKS_TRIED = {
    "self-modulated": {"hidden": 4, "modulation": "none", "max_norm": None, "decay": 0.0, "plasticity": "none"},
    "plastic-rnn": {"hidden": 4, "scale": 0.5},
    "plastic-mlp": {"hidden": 4, "scale": 0.5},
    "plastic-head": {"label_gain": 1.0, "scale": 0.5},
    "hebbian-mlp": {"hidden": "4", "normalise": False, "recurrent": True, "output": "tanh"},
    "feedback": {"hidden": "4", "rate": 0.3},
}


def outer(x, y):
    """The matrix x ⊗ y by a loop."""
    return np.array([[a * b for b in y] for a in x])


def reward_hebb(rule, step, weight, fast, kept):
    kept["E"] = (1 - rule["delta"]) * kept.get("E", 0) + outer(step["pre"], step["post"])
    return rule["eta"] * step["reward"] * kept["E"]


def bcm(rule, step, weight, fast, kept):
    threshold = kept.get("threshold", np.ones_like(step["post"]))
    kept["threshold"] = np.array([t + (y * y - t) / rule["tau"] for y, t in zip(step["post"], threshold, strict=True)])
    return rule["eta"] * outer(step["pre"], [y * (y - t) for y, t in zip(step["post"], threshold, strict=True)])


def stdp(rule, step, weight, fast, kept):
    before, after = kept.get("x", 0 * step["pre"]), kept.get("y", 0 * step["post"])
    kept["x"] = math.exp(-1 / rule["taus"][0]) * (before + step["pre"])
    kept["y"] = math.exp(-1 / rule["taus"][1]) * (after + step["post"])
    return rule["amplitudes"][0] * outer(before, step["post"]) - rule["amplitudes"][1] * outer(step["pre"], after)


def taylor(rule, step, weight, fast, kept):
    change = np.zeros_like(weight)
    for (i, j), (a, b, c, d) in itertools.product(np.ndindex(*weight.shape), itertools.product(range(3), repeat=4)):
        x, y, w, r = step["pre"][i], step["post"][j], weight[i, j], step["reward"]
        change[i, j] += rule["theta"][a, b, c, d] * x**a * y**b * w**c * r**d
    return change


def synapse_network(rule, step, weight, fast, kept):
    change = np.zeros_like(weight)
    for i, j in np.ndindex(*weight.shape):
        seen = np.array([step["pre"][i], step["post"][j], weight[i, j], step["reward"]])
        units = seen @ rule["first"] + rule["bias"]
        change[i, j] = math.tanh(np.where(units > 0, units, 0.01 * units) @ rule["second"] + rule["last"])
    return change


def stpn(rule, step, weight, fast, kept):
    keep, gain = (rule[f"{name}.{step['layer']}"] for name in ("keep", "gain"))
    return (keep - 1) * fast + gain * outer(step["pre"], step["post"])


def delta(rule, step, weight, fast, kept):
    return rule["beta"] * outer(step["pre"], step["post"] - step["pre"] @ fast)


def eprop(rule, step, weight, fast, kept):
    kept["x"] = rule["alpha"] * kept.get("x", 0) + step["pre"]
    psi = [1 - math.tanh(a) ** 2 for a in step["summed"]]
    kept["E"] = rule["kappa"] * kept.get("E", 0) + outer(kept["x"], psi)
    return -rule["eta"] * kept["E"] * step["error"][None, :]


def homeostatic(rule, step, weight, fast, kept):
    kept["y"] = kept.get("y", 0) + (step["post"] - kept.get("y", 0)) / rule["tau"]
    return rule["eta"] * (rule["target"] - kept["y"])[None, :] * weight


def two_scales(rule, step, weight, fast, kept):
    slow = kept.get("slow", np.zeros_like(fast))
    kept["slow"] = slow + rule["up"] * (fast - slow)
    return rule["eta"] * outer(step["pre"], step["post"]) - rule["down"] * (fast - slow)


RULES = {
    "examples.custom_rule:RewardHebb,eta=0.02": reward_hebb,
    "tests.rules.bcm:BCM,eta=0.3": bcm,
    "tests.rules.stdp:STDP,plus=0.3,minus=0.4,tau=2.0": stdp,
    "tests.rules.taylor:Taylor,scale=0.05": taylor,
    "tests.rules.synapse_network:SynapseNetwork,scale=0.5": synapse_network,
    "tests.rules.stpn:STPN": stpn,
    "tests.rules.delta:Delta,beta=0.3": delta,
    "tests.rules.eprop:EProp,eta=0.3": eprop,
    "tests.rules.homeostatic:Homeostatic,eta=0.3": homeostatic,
    "tests.rules.two_scales:TwoScales,eta=0.3": two_scales,
}


def offering(shown=lambda rule, network: True):
    """Every rule on every network that offers what it reads, as far as it is `shown`."""
    for spec, network in itertools.product(RULES, NETWORKS_TRIED):
        rule = agents.RULES.load_class(spec.partition(",")[0], Rule)
        if rule.needs <= NETWORKS.load(network).offers and shown(rule, network):
            yield pytest.param(spec, network, id=f"{RULES[spec].__name__}-{network}")


def make(spec, network, **options):
    """An agent in double precision."""
    needs = agents.RULES.load_class(spec.partition(",")[0], Rule).needs
    at = {"reward_at": REWARD} if "reward" in needs else {}
    agent = agents.make(D, K, rule=spec, network=network, seed=1, **at, **(NETWORKS_TRIED[network] | options))
    return agent.double()


def lived(agent):
    """What the rule was asked with at each step, of each layer; and the fast weights after each step."""
    asked, honest = [], agent.rule.update

    def update(signals, traces):
        asked.append(signals)
        return honest(signals, traces)

    agent.rule.update = update
    drawn = torch.randn(T, B, D, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    drawn[..., -K:] = nn.functional.one_hot(torch.arange(T * B).view(T, B) % K, K)
    state, kept = agent.initial_state((B,), agent.draw_birth(B, torch.Generator().manual_seed(3))), []
    if "weights" in state:
        state["weights"] = {layer: weight.double() for layer, weight in state["weights"].items()}
        state["feedback"] = {layer: weight.double() for layer, weight in state.get("feedback", {}).items()}
    born = state
    for observation in drawn:
        _, state = agent(observation, state)
        kept.append(state["weights" if "weights" in state else "fast"])
    return drawn, asked, born, kept


@pytest.mark.parametrize(("spec", "network"), [*offering()])
def test_the_law_is_that_of_a_loop_over_synapses(spec, network):
    agent = make(spec, network)
    drawn, asked, born, kept = lived(agent)
    coefficients = {name: value.detach().numpy() for name, value in agent.rule.named_parameters()}
    rate = {"self-modulated": 0.1, "feedback": 0.3}.get(network, 1.0) if agent.rule.learning_rate() is None else 1.0
    own = "weights" in born
    for number, name in enumerate(kept[0]):
        slow = 0.0 if own else agent.layers()[name].weight.detach().numpy()
        plasticity = 1.0 if own else agent.layers()[name].plasticity.detach().numpy()
        for episode in range(B):
            fast = born["weights" if own else "fast"][name][episode].detach().numpy().copy()
            traces = {}
            for time in range(T):
                signals = asked[time * len(kept[0]) + number]
                step = {
                    key: getattr(signals, key)[episode].detach().numpy()
                    for key in ("pre", "post", "summed", "error")
                    if getattr(signals, key) is not None
                }
                step |= {"reward": float(drawn[time, episode, REWARD]), "layer": number}
                change = RULES[spec](coefficients, step, slow + plasticity * fast, fast, traces)
                fast = fast + rate * change
                found = kept[time][name][episode].detach().numpy()
                assert np.abs(found - fast).max() < TOLERANCE
            changed = np.abs(fast - born["weights" if own else "fast"][name][episode].detach().numpy()).max()
            assert changed > 1000 * TOLERANCE  # else nothing was compared


def task_for(network):
    """One that the network can live in: classification, or cues that pay."""
    labels = network in ("feedback", "plastic-head")
    return make_task(
        "OnlineClassification,source=halfspace,n_train=4,n_query=2"
        if labels
        else "CueReward,n_cues=2,n_stimulus=2,n_show=2,n_query=2"
    )


def shows_what_is_read(rule, network):
    """Whether there is a reward in what a network's task shows, if the rule reads it."""
    return "reward" not in rule.needs or "reward" in task_for(network).slices


@pytest.mark.parametrize(("spec", "network"), [*offering(shows_what_is_read)])
def test_a_population_in_a_rollout_lives_as_each_individual_step_by_step(spec, network):
    task = task_for(network)
    options = {key: value for key, value in NETWORKS_TRIED[network].items() if key != "label_gain"}
    agent = agents.make_for(task, rule=spec, network=network, seed=1, **options)
    parameters = {name: torch.stack([value.detach(), value.detach() * 1.1]) for name, value in agent.named_parameters()}
    together = agents.rollout(agent, task, 3, torch.Generator().manual_seed(4), parameters=parameters)
    for individual in range(2):
        own = {name: value[individual] for name, value in parameters.items()}
        with torch.no_grad():
            alone = agents.rollout(agent, task, 3, torch.Generator().manual_seed(4), parameters=own)
        assert torch.allclose(together.outputs[individual], alone.outputs, atol=1e-5)
        agent_alone = copy.deepcopy(agent)
        agent_alone.load_state_dict(own)
        state = agent_alone.initial_state((3,), agent_alone.draw_birth(3, generator_after(task)))
        assert together.episode is not None
        for time, observation in enumerate(together.episode.inputs):
            output, state = agent_alone(observation, state)
            assert torch.allclose(output, alone.outputs[time], atol=1e-5)


def generator_after(task):
    """The generator of a rollout when the episodes are drawn."""
    generator = torch.Generator().manual_seed(4)
    task.sample(3, generator)
    return generator


class Gated(Rule):
    """F ← F + M E, then E ← (1 − η) E + η pre ⊗ post: retroactive modulation as a rule."""

    needs = frozenset({"pre", "post", "modulator"})
    decay = "none"
    batched = True

    def __init__(self) -> None:
        super().__init__()
        self.eta = nn.Parameter(torch.tensor(0.3))
        self.traces = {"E": Trace("synapse")}

    def update(self, signals, traces):
        eligibility = (1 - self.eta) * traces["E"] + self.eta * RankOne(signals.pre, signals.post).dense()
        return signals.modulator[..., None] * traces["E"], {"E": eligibility}


@pytest.mark.parametrize("network", ["plastic-rnn", "plastic-mlp"])
def test_retroactive_modulation_is_a_rule_with_a_trace_gated_by_the_modulator(network, monkeypatch):
    monkeypatch.setattr(FastWeightNetwork, "fused_to", -1)  # nothing is compiled for so little
    task, common = make_task("CueReward,n_cues=2,n_stimulus=2,n_show=3,n_query=2"), {"modulation": "tanh", "hidden": 5}
    own = agents.make_for(task, rule="tests.agents.test_stateful_rules:Gated", network=network, scale=0.5, **common)
    option = agents.make_for(
        task, rule="additive-hebb,bound=none,eta=0.3", network=network, retroactive=True, scale=0.5, **common
    )
    with torch.no_grad():
        for name, value in own.named_parameters():
            value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(5)) * 0.4)
            if name == "rule.eta":
                value.fill_(0.3)
        option.load_state_dict(own.state_dict())
    results = []
    for agent in (own, option):
        agent.zero_grad()
        lived = agents.rollout(agent, task, 4, torch.Generator().manual_seed(6))
        lived.loss.mean().backward()
        state = agent.close_state(lived.state)
        results.append((lived.outputs, state["fast"], {name: x.grad for name, x in agent.named_parameters()}))
    (outputs, fast, gradients), (others, its, theirs) = results
    assert torch.allclose(outputs, others, atol=1e-6)
    assert all(torch.allclose(fast[name], its[name], atol=1e-6) for name in fast)
    assert all(torch.allclose(gradients[name], theirs[name], atol=1e-5) for name in gradients)
    assert any(bool(value.abs().max() > 0.01) for value in fast.values())


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("tests.rules.stdp:STDP,plus=0.01,minus=0.0105,tau=20.0", {5: 0.007788, -5: -0.008177, 0: 0.0}),
    ],
)
def test_pulses_five_steps_apart_change_a_synapse_as_published(spec, says):
    rule = agents.make(D, K, rule=spec, network="plastic-mlp").rule
    for apart, change in says.items():
        total, traces = 0.0, {"before": torch.zeros(1, 1), "after": torch.zeros(1, 1)}
        for time in range(20):
            pre, post = (torch.tensor([[float(time == at)]]) for at in (8, 8 + apart))
            signals = Signals(pre, post)
            step, traces = rule.update(signals, traces)
            total += float(step.dense(signals).detach())
        assert total == pytest.approx(change, abs=1e-6)


def test_a_sliding_threshold_brings_one_synapse_to_one():
    rule, weight = agents.make(D, K, rule="tests.rules.bcm:BCM", network="plastic-mlp").rule, torch.tensor([[0.3]])
    traces = {"threshold": torch.ones(1, 1)}
    with torch.no_grad():
        for _ in range(2000):
            change, traces = rule.update(Signals(torch.ones(1, 1), weight), traces)
            weight = weight + 0.05 * change.dense()[0]
    assert float(weight) == pytest.approx(1.0, abs=1e-3)
    assert float(traces["threshold"]) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("traces", "says"),
    [
        (["E"], "the traces of rule Wrong must be a dict from names to Trace"),
        ({"E": "synapse"}, "trace 'E' of rule Wrong must be an agents.Trace, not 'synapse'"),
        ({"E": Trace("synapze")}, "of .trace 'E' of rule Wrong. 'synapze': did you mean 'synapse'"),
        ({"E": Trace("pre", 0)}, "width .trace 'E' of rule Wrong. must be an integer of at least 1, not 0"),
        ({"E": Trace("pre", start=math.nan)}, "start .trace 'E' of rule Wrong. must be a finite number"),
        ({"E": Trace("pre")}, "rule Wrong has traces, which `change` does not get: write `update`"),
    ],
)
def test_traces_that_are_none_are_refused(traces, says):
    wrong = type("Wrong", (Rule,), {"traces": traces})
    with pytest.raises(UsageError, match=says):
        agents.networks.NETWORKS.load("plastic-mlp")(
            D, K, rule=wrong(), options=agents.networks.NETWORKS.load("plastic-mlp").Options(), seed=0
        )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            lambda change, traces: change,
            "update of rule Gated must return the pair .change, dict of traces., not a Tensor$",
        ),
        (lambda change, traces: (change, {}), "must return the traces {'E': .*}, not {}"),
        (lambda change, traces: (change, {"E": traces["E"][..., :1]}), "must return the traces {'E': .*}, not {'E'"),
        (lambda change, traces: (change[..., :1], traces), "the change of rule Gated must be"),
    ],
)
def test_an_update_that_gives_something_else_is_refused(given, says):
    agent = agents.make(D, K, rule="tests.agents.test_stateful_rules:Gated", network="plastic-mlp", modulation="tanh")
    honest = agent.rule.update
    agent.rule.update = lambda signals, traces: given(*honest(signals, traces))
    with pytest.raises(UsageError, match=says):
        agent(torch.zeros(2, D))


class Misspelt(Gated):
    needs = frozenset({"pre", "post", "modulater"})


class Rated(Gated):
    def learning_rate(self):
        return 0.1


class Failing(Gated):
    def update(self, signals, traces):
        return torch.ones(3) + torch.ones(2), traces


@pytest.mark.parametrize("network", ["plastic-mlp", None])
@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("Misspelt", r"^needs \(of rule Misspelt\) 'modulater': did you mean 'modulator'"),
        ("Rated", "^learning_rate of rule Rated must return None or a tensor, not 0.1$"),
    ],
)
def test_a_signal_that_there_is_not_and_a_rate_that_is_no_tensor_are_refused(rule, says, network):
    with pytest.raises(UsageError, match=says):
        agents.make(D, K, rule=f"tests.agents.test_stateful_rules:{rule}", network=network)


def test_what_a_rule_raises_is_told_with_the_shapes_that_it_was_given():
    rule = "tests.agents.test_stateful_rules:Failing"
    agent = agents.make(D, K, rule=rule, network="plastic-rnn", hidden=4, modulation="tanh")
    with pytest.raises(RuntimeError) as raised:
        agent(torch.zeros(2, D))
    assert "rule Failing was given pre (2, 4), post (2, 4)" in raised.value.__notes__[0]
    assert raised.value.__notes__[0].endswith("modulator (2, 1), E (2, 4, 4)")


def test_what_a_rule_reads_must_be_there():
    rule = "examples.custom_rule:RewardHebb"
    with pytest.raises(UsageError, match="reads the reward: say reward_at"):
        agents.make(D, K, rule=rule, network="plastic-rnn")
    with pytest.raises(UsageError, match="reward_at must be an integer from 0 to 4, not 5"):
        agents.make(D, K, rule=rule, network="plastic-rnn", reward_at=5)
    with pytest.raises(UsageError, match="reward_at=1: rule 'hebbian' does not read the reward"):
        agents.make(D, K, rule="hebbian", network="plastic-rnn", reward_at=1)
    with pytest.raises(UsageError, match="FewShotRegression shows none, which is a slice named 'reward' of one number"):
        agents.make_for(make_task("FewShotRegression"), rule=rule)
    with pytest.raises(UsageError, match="Gated reads the modulator: choose a modulation"):
        agents.make(D, K, rule="tests.agents.test_stateful_rules:Gated", network="plastic-rnn")


def test_traces_are_saved_in_the_state_and_agents_with_them_in_files(tmp_path):
    task = make_task("CueReward,n_cues=2,n_stimulus=2,n_show=2,n_query=2")
    agent = agents.make_for(task, rule="examples.custom_rule:RewardHebb", network="plastic-mlp", hidden=3)
    assert agent.reward_at == task.slices["reward"].start
    agents.save(agent, tmp_path)
    again = agents.load(tmp_path, trust=["examples.custom_rule:RewardHebb"])
    one, other = (agents.rollout(x, task, 2, torch.Generator().manual_seed(0)) for x in (agent, again))
    assert torch.equal(one.outputs, other.outputs)
    assert {name: tuple(x["eligibility"].shape) for name, x in one.state["traces"].items()} == {
        "layer1": (2, task.observation_size, 3),
        "layer2": (2, 3, 1),
    }
