"""Networks that learn from labels by errors sent back: the paper's equations, one mathematics in every form."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

import agents
from agents.networks.feedback.angles import query_angles
from agents.networks.feedback.network import FeedbackNetwork
from agents.rules import LowRank, RankOne, Rule, Signal, Signals
from evolution.searchers.evolutionary.evotorch_problem import EpisodesProblem
from evolution.searchers.make import make_searcher
from plastic_envs.core.supervised import SupervisedTask
from plastic_envs.core.task import Episode, layout
from plastic_envs.tasks import make_task
from plastic_envs.utils.errors import UsageError

COEFFICIENTS = torch.tensor([0.3, 0.02, -0.05, 0.004, 0.01, 0.05, 0.03, 0.02, -0.04, 0.06], dtype=torch.float64)


class Blobs(SupervisedTask):
    """Positive features around a centre for each class; labelled ones, then queries with a flag."""

    action_kind = "discrete"

    def __init__(self, n_train: int = 8, n_query: int = 4, n_features: int = 9, known: bool = True) -> None:
        self.n_train, self.n_features = n_train, n_features
        self.horizon = n_train + n_query
        self.first_query = n_train if known else None
        self.slices = layout({"features": n_features, "label": 3, "query": 1}, feedback=["label"])
        self.output_size = 3

    def sample(self, batch_size: int, generator: torch.Generator) -> Episode:
        targets = torch.randint(3, (self.horizon, batch_size), generator=generator)
        centres = torch.rand(batch_size, 3, self.n_features, generator=generator)
        noise = torch.rand(self.horizon, batch_size, self.n_features, generator=generator)
        features = centres[torch.arange(batch_size), targets] + 0.3 * noise
        asked = (torch.arange(self.horizon) >= self.n_train).unsqueeze(1).expand(-1, batch_size)
        labels = one_hot(targets, 3).masked_fill(asked.unsqueeze(-1), 0)
        return Episode(torch.cat([features, labels, asked.unsqueeze(-1)], -1), targets, asked, asked, {})


TASK = Blobs()
WIDE = Blobs(n_train=7, n_query=3, n_features=14)  # fewer inputs than features


class Oja(Rule):
    """A user's own low-rank rule, with a coefficient, weight decay and the subtraction of what is predicted."""

    needs: ClassVar[frozenset[Signal]] = frozenset({"pre", "post", "weight"})
    low_rank = True

    def __init__(self) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.tensor(0.1))

    def change(self, signals: Signals) -> LowRank:
        pair = RankOne((signals.pre - signals.back(signals.post)) * self.strength, signals.post)
        return LowRank((pair,), self.strength.reshape(1) / 10)


def make(rule: str = "pool", task: SupervisedTask = TASK, **options: Any) -> FeedbackNetwork:
    options = {"hidden": "8-7-6", "network": "feedback"} | options
    agent = agents.make_for(task, rule=rule, seed=3, **options).double()
    assert isinstance(agent, FeedbackNetwork)
    with torch.no_grad():
        for name, value in agent.named_parameters():
            if "theta" in name:
                chosen = COEFFICIENTS[[term - 1 for term in agent.rule.terms]]
                per_synapse = value.dim() == 3
                value.copy_((chosen[:, None, None] if per_synapse else chosen).expand_as(value))
    return agent


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def episode(size: int = 4, task: SupervisedTask = TASK, dtype: torch.dtype = torch.float64) -> Episode:
    return task.sample(size, generator()).map(lambda x: x.to(dtype) if x.is_floating_point() else x)


def live(agent: FeedbackNetwork, task: SupervisedTask = TASK, **settings: Any) -> agents.Rollout:
    """A rollout, always of the same births and episodes."""
    lived = episode(4, task, agent.dtype)
    return agents.rollout(agent, task, 4, generator(1), episode=lived, **settings)


def newborn(agent: FeedbackNetwork, size: int = 4) -> Any:
    return agent.initial_state((size,), agent.draw_birth(size, generator(1)))


def literally(theta: Tensor, state: Any, inputs: Tensor, labels: Tensor, b: int) -> list[Tensor]:
    """One episode's step as the paper writes it: column vectors, weights post × pre."""
    weights = [matrix[b].T for matrix in state["weights"].values()]
    feedback = [matrix[b].T for matrix in state["feedback"].values()]
    y = [inputs[b]]
    for number, w in enumerate(weights, 1):
        z = w @ y[-1]
        y.append(torch.log(1 + torch.exp(10 * z)) / 10 if number < len(weights) else z.softmax(0))
    e = [y[-1] - labels[b]]
    for matrix, activity in zip(reversed(feedback), reversed(y[:-1]), strict=True):
        e.insert(0, (matrix.T @ e[0]) * (1 - torch.exp(-10 * activity)))
    after = []
    for number, w in enumerate(weights, 1):
        yl, yp, el, ep = (x[:, None] for x in (y[number], y[number - 1], e[number], e[number - 1]))
        one = torch.ones_like(yl)
        terms = (
            -el @ yp.T,
            -yl @ ep.T,
            -el @ ep.T,
            -w,
            -one @ ep.T,
            -el @ one.T @ yl @ yp.T,
            -yl @ yl.T @ w @ ep @ ep.T,
            -el @ yl.T @ w @ ep @ yp.T,
            -yl @ yp.T @ w.T @ el @ ep.T,
            yl @ yp.T - yl @ yl.T @ w,
        )
        after.append((w + sum(k * term for k, term in zip(theta, terms, strict=True))).T)
    return after


@pytest.mark.parametrize("sharing", ["all", "layer", "synapse"])
@pytest.mark.parametrize("terms", [*range(1, 11), "1+3+10", "all"])
def test_every_term_is_the_papers(terms: Any, sharing: str) -> None:
    agent, observation = make(f"pool,terms={terms},sharing={sharing}"), episode().inputs[0]
    state = newborn(agent)
    _, after = agent(observation, state)
    theta = torch.zeros(10, dtype=torch.float64)
    chosen = [term - 1 for term in agent.rule.terms]
    theta[chosen] = COEFFICIENTS[chosen]
    for b in range(4):
        expected = literally(theta, state, observation[:, :9], observation[:, 9:12], b)
        for mine, theirs in zip(after["weights"].values(), expected, strict=True):
            torch.testing.assert_close(mine[b], theirs, rtol=1e-10, atol=1e-12)


def test_pseudo_gradient_with_symmetric_feedback_is_a_step_of_gradient_descent() -> None:
    agent, lived = make("pseudo-gradient", feedback="symmetric"), episode()
    observation, target = lived.inputs[0], lived.targets[0]
    state = newborn(agent)
    _, after = agent(observation, state)
    parameters = [nn.Parameter(x.clone()) for x in state["weights"].values()]
    activity = observation[:, None, :9]
    for index, weight in enumerate(parameters):
        activity = activity @ weight
        activity = activity if index == 3 else nn.functional.softplus(activity, 10)
    cross_entropy(activity.squeeze(1), target, reduction="sum").backward()
    torch.optim.SGD(parameters, lr=float(COEFFICIENTS[0])).step()
    for mine, theirs in zip(after["weights"].values(), parameters, strict=True):
        torch.testing.assert_close(mine, theirs.detach(), rtol=1e-9, atol=1e-12)


def test_an_observation_without_label_changes_nothing() -> None:
    agent, lived = make(), episode()
    state = newborn(agent)
    output, after = agent(lived.inputs[-1], state)
    assert all(torch.equal(state["weights"][layer], x) for layer, x in after["weights"].items())
    mixed = torch.cat([lived.inputs[0, :2], lived.inputs[-1, 2:]])
    _, after = agent(mixed, state)
    for layer, matrix in after["weights"].items():
        assert torch.equal(matrix[2:], state["weights"][layer][2:])
        assert not torch.equal(matrix[:2], state["weights"][layer][:2])
    torch.testing.assert_close(agent.answer(agent.perceive(lived.inputs[-1:], state), state)[0], output)


def gradients(agent: FeedbackNetwork, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(agent.parameters())))


@pytest.mark.parametrize("task", [TASK, WIDE], ids=["long", "wide"])
@pytest.mark.parametrize(
    "rule",
    [
        "pool",
        "pool,terms=1+3+10",
        "pool,terms=1+4,sharing=layer",
        "pool,terms=1+3,sharing=synapse",
        "tests.agents.test_feedback_network:Oja",
        "pseudo-gradient",
    ],
)
def test_population_equals_each_individual_alone(rule: str, task: SupervisedTask) -> None:
    agent = make(rule, task)
    population = {n: p.detach() + 0.02 * torch.randn(3, *p.shape, dtype=p.dtype) for n, p in agent.named_parameters()}
    with torch.no_grad():
        together = live(agent, task, parameters=population)
        alone = [live(agent, task, parameters={n: p[i] for n, p in population.items()}) for i in range(3)]
    torch.testing.assert_close(together.outputs, torch.stack([one.outputs for one in alone]), rtol=1e-9, atol=1e-11)
    closed = agent.close_state(together.state)["weights"]
    for layer, matrix in closed.items():
        each = torch.stack([agent.close_state(one.state)["weights"][layer] for one in alone])
        torch.testing.assert_close(matrix, each, rtol=1e-8, atol=1e-11)


def test_a_populations_gradients_are_those_of_each_individual() -> None:
    agent = make("pool,terms=1+3+10", WIDE)
    theta = torch.stack([agent.rule.theta.detach() * k for k in (1, 0.5, -1)]).requires_grad_()
    (together,) = torch.autograd.grad(live(agent, WIDE, parameters={"rule.theta": theta}).loss.sum(), theta)
    for i in range(3):
        single = theta[i].detach().requires_grad_()
        (alone,) = torch.autograd.grad(live(agent, WIDE, parameters={"rule.theta": single}).loss.sum(), single)
        torch.testing.assert_close(together[i], alone, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("task", [TASK, WIDE], ids=["long", "wide"])
def test_single_steps_equal_the_rollout_and_its_records(task: SupervisedTask) -> None:
    agent, lived = make("pool,terms=1+3+10", task), episode(4, task)
    names = agent.recordable()
    with torch.no_grad():
        result, recorded = live(agent, task), live(agent, task, record=names)
        state, outputs = newborn(agent), []
        for step, observation in enumerate(lived.inputs):
            seen: dict[str, Tensor] = {}
            output, state = agent(observation, state, seen)
            outputs.append(output)
            assert set(seen) == set(names)
            for name in names:
                torch.testing.assert_close(recorded.records[name][step], seen[name], equal_nan=True)
    torch.testing.assert_close(result.outputs, torch.stack(outputs), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(recorded.outputs, result.outputs, rtol=1e-9, atol=1e-11)
    for layer, matrix in agent.close_state(result.state)["weights"].items():
        torch.testing.assert_close(matrix, state["weights"][layer], rtol=1e-9, atol=1e-11)


def test_errors_under_symmetric_feedback_point_where_backpropagations_do() -> None:
    same, other = make("pool,terms=1+3", feedback="symmetric"), make("pool,terms=1+3")
    for agent, low, high in ((same, 0, 1e-5), (other, 5, 180)):
        lived = live(agent, record=["angle.1", "angle.2", "angle.3"])
        recorded = torch.stack(list(lived.records.values()))  # (3, T, B)
        assert recorded[:, -4:].isnan().all()
        averaged = query_angles(agent, TASK, lived)
        assert averaged.shape == (3, 4)
        for angles in (recorded[:, :-4], averaged):
            assert ((angles >= low) & (angles <= high)).float().mean() > 0.9
    with pytest.raises(UsageError, match="Blobs has none"):
        query_angles(other, Blobs(known=False), live(other))


@pytest.mark.parametrize("rule", ["hebbian", "gradient", "examples.custom_rule:Oja", "none"])
def test_rules_of_other_networks_run_here(rule: str) -> None:
    agent = make(f"{rule},rate=-0.01")
    with torch.no_grad():
        lived = live(agent)
    assert lived.loss.isfinite().all()
    before, after = newborn(agent)["weights"]["2"], agent.close_state(lived.state)["weights"]["2"]
    assert torch.equal(before, after) == (rule == "none")


def test_the_gradient_rule_downhill_is_the_pseudo_gradient() -> None:
    ours = live(make("pool,terms=1").float())
    other = live(make(f"gradient,rate={-float(COEFFICIENTS[0])}"))
    torch.testing.assert_close(ours.outputs, other.outputs)


def test_the_penalty_counts_in_both_kinds_of_search() -> None:
    agent = make("pool,terms=1+3+10,l1=0.5").float()
    theta = agent.rule.theta.detach().clone()
    lived = agents.rollout(agent, TASK, 4, generator())
    torch.testing.assert_close(lived.penalty, 0.5 * theta.abs().sum())
    (slope,) = torch.autograd.grad(lived.penalty, agent.rule.theta)
    torch.testing.assert_close(slope, 0.5 * theta.sign())
    with torch.no_grad():
        both = torch.stack([theta, 2 * theta])
        population = agents.rollout(agent, TASK, 4, generator(), parameters={"rule.theta": both})
    torch.testing.assert_close(population.penalty, 0.5 * both.abs().sum(1))
    problem = EpisodesProblem(TASK, agent, ["rule.theta"], episodes=4, spread=0.1, seed=0)
    problem.begin_generation()
    batch = problem.generate_batch(2)
    batch.set_values(both)
    problem.evaluate(batch)
    free = make("pool,terms=1+3+10").float()
    alone = agents.rollout(
        free, TASK, 4, torch.Generator().manual_seed(problem.generation_seed), parameters={"rule.theta": both}
    )
    torch.testing.assert_close(batch.evals[:, 0].as_subclass(Tensor), -alone.loss.mean(1).detach() - population.penalty)


@pytest.mark.parametrize(
    "searcher", ["backprop,optimizer=adam,batch_size=8,learning_rate=0.01", "pgpe,popsize=6,episodes=4"]
)
def test_searchers_change_the_coefficients(searcher: str) -> None:
    agent = make("pool,terms=1+3+10").float()
    found = make_searcher(searcher, TASK, agent, seed=0)
    for _ in range(2):
        found.step()
    assert not torch.equal(found.agent().rule.theta, agent.rule.theta)


@pytest.mark.parametrize("sharing", ["all", "layer", "synapse"])
def test_save_and_load(sharing: str, tmp_path: Path) -> None:
    agent = agents.make_for(TASK, rule=f"pool,terms=1+10,sharing={sharing}", hidden=[5, 4], feedback="symmetric")
    agents.save(agent, tmp_path)
    other = agents.load(tmp_path)
    inputs = TASK.sample(2, generator()).inputs
    _, state = agent(inputs[0])
    _, same = other(inputs[0])
    assert torch.equal(agent(inputs[1], state)[0], other(inputs[1], same)[0])
    assert other.config == agent.config


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("pool,terms=1+4+10", "ΔW_l = −0.3 · e_l y_{l−1}ᵀ − 0.004 · W_l + 0.06 · (y_l y_{l−1}ᵀ − y_l y_lᵀ W_l)"),
        ("pool,terms=3", "ΔW_l = 0.05 · e_l e_{l−1}ᵀ"),
        ("pool,terms=5,sharing=layer", "layer 1: ΔW_l = −0.01 · 1 e_{l−1}ᵀ\nlayer 2: ΔW_l"),
        ("pool,terms=1,sharing=synapse", "layer 1, means: ΔW_l = −0.3 · e_l y_{l−1}ᵀ"),
    ],
)
def test_the_rule_in_readable_form(rule: str, says: str) -> None:
    assert make(rule).rule.describe().startswith(says)


def test_the_start_is_a_slow_pseudo_gradient() -> None:
    theta = agents.make_for(TASK, rule="pool").rule.theta
    assert theta.tolist() == pytest.approx([1e-3] + 9 * [0])
    assert agents.make_for(TASK, rule="pseudo-gradient,start=0.02").rule.theta.tolist() == pytest.approx([0.02])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rule": "pool,terms=11"}, "terms must be 'all' or different numbers from 1 to 10 .* not 11"),
        ({"rule": "pool,terms=1+1"}, "terms must be .* not '1\\+1'"),
        ({"rule": "pool,terms=first"}, "terms must be .* not 'first'"),
        ({"rule": "pool,sharing=some"}, "sharing must be one of all, layer, synapse, not 'some'"),
        ({"rule": "pool,l1=-1"}, "l1 must be .* not -1"),
        ({"rule": "pool,start=much"}, "start must be .* not 'much'"),
        ({"rule": "pool,shapes=3"}, "told its shapes by the network"),
        ({"hidden": "8-x"}, "hidden must be a number of units or one for each layer as in 170-130-100-70, not '8-x'"),
        ({"hidden": 0}, "hidden must be .* not 0"),
        ({"hidden": [3, 0.5]}, "hidden must be .* not 0.5"),
        ({"feedback": "none"}, "feedback must be one of random, symmetric, not 'none'"),
        ({"rate": "fast"}, "rate must be .* not 'fast'"),
        ({"beta": 0}, "beta must be .* not 0"),
        ({"rule": "none-wide"}, "none-wide.* widens one hidden layer"),
        ({"hidden": 10**6}, "more memory than this machine has"),
    ],
)
def test_wrong_options_are_refused_in_one_sentence(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        agents.rollout(agents.make_for(TASK, **{"rule": "pool", "network": "feedback"} | options), TASK, 4, generator())
    assert "\n" not in str(caught.value)


def test_per_synapse_coefficients_that_need_too_much_memory_are_refused() -> None:
    task = Blobs(n_train=100_000)
    agent = agents.make_for(task, rule="pool,sharing=synapse", hidden=300)
    with pytest.raises(UsageError, match=r"weights are held 200008 times, .* or a low-rank rule"):
        agent.initial_state((64,), agent.draw_birth(64, generator()), task.horizon)


def test_a_rule_without_coefficients_leaves_nothing_to_search():
    task = make_task("OnlineClassification,n_train=10,n_query=5")
    agent = agents.make_for(task, rule="hebbian", network="feedback,hidden=4")
    with pytest.raises(
        UsageError, match="'hebbian' has no coefficients on FeedbackNetwork, so there is nothing to search"
    ):
        make_searcher("backprop", task, agent)


@pytest.mark.parametrize(
    "rule", ["decaying-hebb", "additive-hebb", "additive-hebb,bound=soft", "additive-hebb,bound=none", "oja"]
)
def test_rules_of_traces_live_on_all_of_a_layers_weights(rule: str) -> None:
    agent = agents.make_for(TASK, rule=rule, network="feedback", hidden="5-4", seed=2).double()
    agent.rule.eta.data.fill_(0.02)
    lived = TASK.sample(3, torch.Generator().manual_seed(0)).map(lambda x: x.double() if x.is_floating_point() else x)
    birth = agent.draw_birth(3, torch.Generator().manual_seed(1))
    state = agent.initial_state((3,), birth)
    _, after = agent(lived.inputs[0], state)
    record: dict[str, Tensor] = {}
    agent(lived.inputs[0], state, record)
    pre, post, weight = lived.inputs[0, :, :9], record["activity.1"], birth["weight.1"]
    hebb = pre.unsqueeze(-1) * post.unsqueeze(-2)
    change = 0.02 * hebb
    expected = {
        "decaying-hebb": weight + 0.02 * (hebb - weight),
        "additive-hebb": (weight + change).clamp(-1, 1),
        "additive-hebb,bound=none": weight + change,
        "additive-hebb,bound=soft": (weight + change * (1 - weight)).clamp(-1, 1),
        "oja": weight + 0.02 * (hebb - post.square().unsqueeze(-2) * weight),
    }
    torch.testing.assert_close(after["weights"]["1"], expected[rule])

    outputs = []
    for observation in lived.inputs:
        output, state = agent(observation, state)
        outputs.append(output)
    result = agents.rollout(agent, TASK, 3, torch.Generator().manual_seed(1), episode=lived)
    torch.testing.assert_close(result.outputs, torch.stack(outputs))
    own = torch.autograd.grad(TASK.loss(torch.stack(outputs), lived).sum(), agent.rule.eta)
    torch.testing.assert_close(torch.autograd.grad(result.loss.sum(), agent.rule.eta), own)

    values = {"rule.eta": torch.stack([agent.rule.eta.detach(), agent.rule.eta.detach() * 1.5])}
    with torch.no_grad():
        both = agents.rollout(agent, TASK, 3, torch.Generator().manual_seed(1), episode=lived, parameters=values)
    torch.testing.assert_close(both.outputs[0], result.outputs)


@pytest.mark.parametrize("term", range(1, 11))
def test_features_below_0_blow_no_term_up(term):
    """Their slope is that of the least that a softplus gives: 0, not 1 − exp(β |y|)."""
    task = make_task("OnlineClassification,source=halfspace,n_train=10,n_query=20")
    agent = agents.make_for(task, rule=f"pool,terms={term}", network="feedback", hidden="20", seed=0)
    theta = {"rule.theta": torch.tensor([1e-3])}
    outputs = agents.rollout(agent, task, 4, torch.Generator().manual_seed(0), parameters=theta).outputs
    assert task.sample(4, torch.Generator().manual_seed(0)).inputs.min() < -1
    assert outputs.abs().max() < 10
