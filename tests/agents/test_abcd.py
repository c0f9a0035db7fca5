"""Evolved ABCD rules: their formulas, how coefficients are shared, and the networks that they run on."""

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import agents
from agents.rules import LowRank, RankOne, Rule, Signal, Signals
from agents.rules.abcd import ABCD, VARIANTS
from plastic_envs.core.task import Episode
from plastic_envs.utils.errors import UsageError
from tests.helpers.hebbian_mlps import TASK, episodes, generator, make, values_of

SHARINGS = ["connection", "layer", 3]
EXPECTED = {
    "A": "A * pre * post",
    "AD": "A * pre * post + D",
    "AD+lr": "lr * (A * pre * post + D)",
    "ABC": "A * pre * post + B * pre + C * post",
    "ABC+lr": "lr * (A * pre * post + B * pre + C * post)",
    "ABCD": "A * pre * post + B * pre + C * post + D",
    "ABCD+lr": "lr * (A * pre * post + B * pre + C * post + D)",
    "ABC+lr+D": "lr * (A * pre * post + B * pre + C * post) + outer",
    "ABCD+lr+D": "lr * (A * pre * post + B * pre + C * post + D) + outer",
}


class Fading(Rule):
    """A user's rule of low rank that reads the weight."""

    needs: ClassVar[frozenset[Signal]] = frozenset({"pre", "post", "weight"})
    batched: ClassVar[bool] = True

    def change(self, signals: Signals) -> LowRank:
        return LowRank((RankOne(signals.pre, signals.post),), signals.pre.new_tensor(0.5))


def make_rule(**options: Any) -> ABCD:
    return ABCD(shapes=((3, 4), (4, 2)), **options)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("sharing", SHARINGS)
def test_a_variant_is_its_formula(variant: str, sharing: Any) -> None:
    rule = make_rule(variant=variant, sharing=sharing).double()
    pre, post = torch.randn(2, 5, 4, dtype=torch.float64), torch.randn(2, 5, 2, dtype=torch.float64)
    coefficients = rule.coefficients[1] if sharing != 3 else rule.coefficients[:, rule.clusters_1]
    names = {"η": "lr", "D'": "outer"}
    known = {names.get(name, name): value for name, value in zip(rule.names, coefficients, strict=True)}
    known = {name: value.expand(4, 2) for name, value in known.items()}
    change = rule.change(Signals(pre, post, layer=1))
    scratch = (torch.full((2, 5, 4, 2), torch.nan).double(), torch.full((2, 5, 4, 2), torch.nan).double())
    with torch.no_grad():
        written = rule.change(Signals(pre, post, layer=1, scratch=scratch))
    assert any(written is one for one in scratch)
    for p in range(2):
        for b in range(5):
            terms = known | {"pre": pre[p, b][:, None].expand(4, 2), "post": post[p, b].expand(4, 2)}
            expected = eval(EXPECTED[variant], {}, terms)
            torch.testing.assert_close(change[p, b], expected)
            torch.testing.assert_close(written[p, b], expected)


def test_coefficients_start_from_a_standard_normal_distribution() -> None:
    rule = ABCD(shapes=((100, 80), (80, 90)), seed=3)
    assert [tuple(value.shape) for value in rule.coefficients] == [(5, 100, 80), (5, 80, 90)]
    for value in rule.coefficients:
        assert abs(value.mean()) < 0.02
        assert abs(value.std() - 1) < 0.02
    again, other = (ABCD(shapes=((100, 80), (80, 90)), seed=seed) for seed in (3, 4))
    assert torch.equal(rule.coefficients[1], again.coefficients[1])
    assert not torch.equal(rule.coefficients[1], other.coefficients[1])


def test_connections_share_coefficients_by_layer() -> None:
    rule = make_rule(sharing="layer")
    assert [tuple(value.shape) for value in rule.coefficients] == [(5, 1, 1), (5, 1, 1)]
    change = rule.change(Signals(torch.ones(1, 3), torch.ones(1, 4), layer=0))[0]
    assert torch.equal(change, change[0, 0].expand(3, 4))


def test_connections_share_coefficients_by_clusters_of_the_whole_network() -> None:
    rule = ABCD(sharing=4, shapes=((30, 40), (40, 2)), seed=5)
    assert rule.coefficients.shape == (5, 4)
    found: dict[int, set[float]] = {cluster: set() for cluster in range(4)}
    for layer, (n, m) in enumerate(((30, 40), (40, 2))):
        change = rule.change(Signals(torch.ones(1, n), torch.ones(1, m), layer=layer))[0]
        for cluster in range(4):
            found[cluster] |= set(change[rule.get_buffer(f"clusters_{layer}") == cluster].tolist())
    assert [len(values) for values in found.values()] == [1, 1, 1, 1]
    sizes = rule.clusters_0.flatten().bincount()
    assert (sizes > 200).all()  # 1,200 connections by chance
    assert torch.equal(rule.clusters_0, ABCD(sharing=4, shapes=((30, 40), (40, 2)), seed=5).clusters_0)
    assert not torch.equal(rule.clusters_0, ABCD(sharing=4, shapes=((30, 40), (40, 2)), seed=6).clusters_0)


CASES: list[tuple[str, dict[str, Any]]] = [
    ("abcd", {}),
    ("abcd,sharing=layer", {"recurrent": True, "birth": "coevolve"}),
    ("abcd,sharing=3", {"recurrent": True, "birth": "fixed"}),
    ("abcd,variant=ABC+lr+D", {"birth": "coevolve", "start": "normal"}),
    ("abcd,variant=AD", {"output": "tanh", "normalise": False}),
    ("hebbian", {"birth": "coevolve"}),
    ("decaying-hebb,eta=0.3", {}),
    ("additive-hebb,bound=soft,eta=0.3", {"normalise": False}),
    ("oja,eta=0.3", {"recurrent": True, "normalise": False}),
    ("tests.agents.test_abcd:Fading", {"birth": "coevolve"}),
    ("none", {"birth": "coevolve", "recurrent": True}),
]
ELSEWHERE: list[tuple[str, dict[str, Any]]] = [
    ("abcd", {"network": "self-modulated", "cell": "lstm"}),
    ("abcd,sharing=layer", {"network": "self-modulated"}),
    ("abcd", {"network": "plastic-rnn"}),
    ("abcd,sharing=2", {"network": "plastic-rnn", "input": "add", "hidden": 6}),
    ("abcd", {"network": "plastic-head", "hidden": None}),
    ("abcd,sharing=layer", {"network": "feedback", "rate": 0.1}),
    ("abcd,variant=ABCD", {"network": "feedback", "rate": 0.1}),
]


@pytest.mark.parametrize(("rule", "options"), CASES + ELSEWHERE, ids=str)
def test_rollout_population_and_vmap_equal_single_steps(rule: str, options: dict[str, Any]) -> None:
    settings = {"network": "hebbian-mlp", "hidden": 4, "seed": 1, **options}
    settings = {name: value for name, value in settings.items() if value is not None}
    agent = agents.make_for(TASK, rule=rule, **settings).double()
    episode = episodes()
    alone = live_step_by_step(agent, episode, values_of(agent))
    result = agents.rollout(agent, TASK, 3, generator(), episode=episode)
    torch.testing.assert_close(result.outputs, alone, rtol=1e-9, atol=1e-11)
    with torch.no_grad():
        in_place = agents.rollout(agent, TASK, 3, generator(), episode=episode)
        torch.testing.assert_close(in_place.outputs, alone, rtol=1e-9, atol=1e-11)

        population = {name: torch.stack([value, value * 0.9]) for name, value in values_of(agent).items()}
        second = live_step_by_step(agent, episode, {name: value[1] for name, value in population.items()})
        together = agents.rollout(agent, TASK, 3, generator(), parameters=population, episode=episode)
        agent.batched = False
        mapped = agents.rollout(agent, TASK, 3, generator(), parameters=population, episode=episode)
    expected = torch.stack([alone, second]) if population else alone
    torch.testing.assert_close(together.outputs, expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(mapped.outputs, expected, rtol=1e-9, atol=1e-11)


def live_step_by_step(agent: agents.Agent, episode: Episode, values: dict[str, Tensor]) -> Tensor:
    """Outputs (T, B, K) of single steps from the birth that a rollout draws."""
    state = torch.func.functional_call(Newborn(agent), {f"agent.{name}": value for name, value in values.items()}, ())
    outputs = []
    for observation in episode.inputs:
        output, state = torch.func.functional_call(agent, values, (observation, state))
        outputs.append(output)
    return torch.stack(outputs)


class Newborn(nn.Module):
    """The birth of an agent as a module, so that its parameters can be replaced."""

    def __init__(self, agent: agents.Agent) -> None:
        super().__init__()
        self.agent = agent

    def forward(self) -> agents.State:
        return self.agent.initial_state((3,), self.agent.draw_birth(3, generator()))


def test_gradients_reach_every_parameter_and_are_the_derivative() -> None:
    agent = make("abcd,variant=ABCD+lr+D,sharing=layer", birth="coevolve", recurrent=True)
    episode = episodes()

    def loss() -> Tensor:
        return agents.rollout(agent, TASK, 3, generator(), episode=episode).loss.mean()

    loss().backward()
    for value in agent.parameters():
        assert value.grad is not None
        index = int(value.grad.abs().argmax())
        flat, step = value.data.view(-1), 1e-6
        flat[index] += step
        after = loss().item()
        flat[index] -= 2 * step
        before = loss().item()
        flat[index] += step
        assert value.grad.view(-1)[index].item() == pytest.approx((after - before) / (2 * step), rel=1e-5)


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("birth", ["redrawn", "fixed", "coevolve"])
def test_save_and_load(sharing: Any, birth: str, tmp_path: Any) -> None:
    settings = {"network": "hebbian-mlp", "hidden": [4, 3], "birth": birth, "seed": 6}
    agent = agents.make_for(TASK, rule=f"abcd,sharing={sharing}", **settings)
    with torch.no_grad():  # not what the seed alone would give again
        for value in agent.state_dict().values():
            value.copy_(torch.rand(value.shape) if value.is_floating_point() else torch.zeros_like(value))
    agents.save(agent, tmp_path)
    again = agents.load(tmp_path)
    outputs = [agents.rollout(one, TASK, 2, generator()).outputs for one in (agent, again)]
    assert torch.equal(outputs[0], outputs[1])


def test_a_rule_is_put_to_work_on_another_network_where_its_coefficients_fit() -> None:
    agent = agents.make_for(TASK, rule="abcd,sharing=layer", network="hebbian-mlp", hidden=[4, 3], seed=6)
    wider = agents.transfer_rule(agent, TASK, "hebbian-mlp,hidden=9-8")
    assert all(torch.equal(a, b) for a, b in zip(agent.rule.coefficients, wider.rule.coefficients, strict=True))
    for hidden in ("9", "9-8-7"):
        with pytest.raises(UsageError, match=r"coefficients\.[23] has the shape .*; this network needs "):
            agents.transfer_rule(agent, TASK, f"hebbian-mlp,hidden={hidden}")
    alone = agents.make_for(TASK, rule="abcd", network="hebbian-mlp", hidden=[4, 3])
    with pytest.raises(UsageError, match=r"coefficients.0 has the shape \(5, 5, 4\); this network needs \(5, 5, 9\)"):
        agents.transfer_rule(alone, TASK, "hebbian-mlp,hidden=9-8")


def test_describe_names_every_coefficient() -> None:
    layer, cluster = make_rule(sharing="layer", variant="ABC+lr+D"), make_rule(sharing=2, variant="AD")
    layer.coefficients[0].data.fill_(0.5)
    assert layer.describe().splitlines()[:2] == [
        "Δw = η·(A·pre·post + B·pre + C·post) + D'",
        "layer 1: A = 0.5, B = 0.5, C = 0.5, η = 0.5, D' = 0.5",
    ]
    cluster.coefficients.data.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert cluster.describe().splitlines() == [
        "Δw = A·pre·post + D",
        "cluster 1: A = 1, D = 3",
        "cluster 2: A = 2, D = 4",
    ]
    alone = make_rule(variant="A")
    alone.coefficients[1].data.copy_(torch.arange(8.0).view(1, 4, 2))
    assert alone.describe().splitlines()[2] == "layer 2, means: A = 3.5"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rule": "abcd,variant=BCD"}, "variant 'BCD': did you mean 'ABCD'"),
        ({"rule": "abcd,sharing=0"}, "sharing must be connection, layer or a number of clusters, at least 1, not 0"),
        ({"rule": "abcd,sharing=true"}, "at least 1, not True"),
        ({"rule": "abcd,sharing=synapse"}, "at least 1, not 'synapse'"),
        ({"rule": "abcd,shapes=3"}, "told its shapes by the network"),
        ({"hidden": 0}, "hidden must be an integer of at least 1, not 0"),
        ({"hidden": "4-x"}, "hidden must be a number of units or one for each layer"),
        ({"birth": "twice"}, "birth must be one of redrawn, fixed, coevolve, not 'twice'"),
        ({"start": "beta"}, "start must be one of uniform, normal, not 'beta'"),
        ({"output": "relu"}, "output must be one of linear, tanh, not 'relu'"),
        ({"recurrent": 1}, "recurrent must be true or false, not 1"),
        ({"normalise": "no"}, "normalise must be true or false, not 'no'"),
        ({"rule": "gradient"}, "needs error, which HebbianMLP lacks"),
        ({"rule": "none", "hidden": [10**6, 10**6]}, "more memory than this machine has: take fewer units"),
        ({"network": "kwta"}, "needs the shapes of all layers, which this network does not tell"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_in_one_sentence(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        agents.make_for(TASK, **{"rule": "abcd", "network": "hebbian-mlp", **options})
    assert "\n" not in str(caught.value)


def test_too_many_episodes_or_a_network_without_shapes_are_refused() -> None:
    with pytest.raises(UsageError, match="more memory than this machine has"):
        make("none", hidden=10**4).draw_birth(10**7, generator())
    with pytest.raises(UsageError, match="needs the shapes of all layers, which this network does not tell"):
        ABCD()
