"""Networks that learn from labels by errors sent back: the paper's equations, one mathematics in every form."""

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

import agents
from agents.feedback_network import FeedbackNetwork
from agents.rules import LowRank, Outer, Rule, Signal, Signals
from plastic_envs.supervised import SupervisedTask
from plastic_envs.task import Episode, layout

COEFFICIENTS = torch.tensor([0.3, 0.02, -0.05, 0.004, 0.01, 0.05, 0.03, 0.02, -0.04, 0.06], dtype=torch.float64)


class Blobs(SupervisedTask):
    """Positive features around a centre for each class; labelled ones, then queries with a flag."""

    action_kind = "discrete"

    def __init__(self, n_train: int = 12, n_query: int = 5, n_features: int = 9, known: bool = True) -> None:
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


class Oja(Rule):
    """A user's own low-rank rule, with a coefficient, weight decay and the subtraction of what is predicted."""

    needs: ClassVar[frozenset[Signal]] = frozenset({"pre", "post", "weight"})
    low_rank = True

    def __init__(self) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.tensor(0.1))

    def change(self, signals: Signals) -> LowRank:
        pair = Outer((signals.pre - signals.back(signals.post)) * self.strength, signals.post)
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


def episode(size: int = 4, task: SupervisedTask = TASK) -> Episode:
    return task.sample(size, generator()).map(lambda x: x.double() if x.is_floating_point() else x)


def live(agent: FeedbackNetwork, task: SupervisedTask = TASK, **settings: Any) -> agents.Rollout:
    """A rollout, always of the same births and episodes."""
    return agents.rollout(agent, task, 4, generator(1), episode=episode(4, task), **settings)


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


def dense(agent: FeedbackNetwork, monkeypatch: pytest.MonkeyPatch, task: SupervisedTask = TASK) -> agents.Rollout:
    """The rollout in the public form, by autograd."""
    with monkeypatch.context() as patch:
        patch.setattr(agent.rule, "low_rank", False)
        result = live(agent, task)
    assert all(isinstance(x, Tensor) for x in result.state["weights"].values())
    return result


WIDE = Blobs(n_train=7, n_query=3, n_features=14)  # fewer inputs than features


@pytest.mark.parametrize("task", [TASK, WIDE, Blobs(known=False)], ids=["long", "wide", "answered in turn"])
@pytest.mark.parametrize("feedback", ["random", "symmetric"])
@pytest.mark.parametrize(
    "rule",
    [
        "pool",
        "pool,sharing=layer",
        "pool,terms=1+2+3+4+5+6+9+10",
        "pool,terms=4",
        "pseudo-gradient",
        "tests.test_feedback_network:Oja",
    ],
)
def test_rollouts_form_equals_dense_weights_and_autograd(
    rule: str, feedback: str, task: SupervisedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make(rule, task, feedback=feedback)
    expected, found = dense(agent, monkeypatch, task), live(agent, task)
    torch.testing.assert_close(found.outputs, expected.outputs, rtol=1e-9, atol=1e-11)
    for mine, theirs in zip(gradients(agent, found.loss.mean()), gradients(agent, expected.loss.mean()), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-11)
    closed = agent.close_state(found.state)  # after the backward pass, which went back to the births
    for layer, matrix in expected.state["weights"].items():
        torch.testing.assert_close(closed["weights"][layer], matrix.detach(), rtol=1e-8, atol=1e-11)
