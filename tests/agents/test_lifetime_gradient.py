"""Gradients attached to whole lifetimes: those of dense matrices and of the time loop."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import agents
from agents.networks.plastic_rnn import PlasticRNN
from agents.rules.base import RankOne, Signals
from agents.rules.hebbian import Hebbian
from evolution.searchers.policy_gradient.lives import live as live_by_chance
from evolution.searchers.policy_gradient.lives import relive
from plastic_envs import UsageError, make_task
from tests.helpers.rollout_forms import BOUNDED, UNBOUNDED, UNITS, Held, cases, generator, live, make, spread

CASES = [(rule, options) for rule, options in cases([*UNBOUNDED, *BOUNDED]) if "fan_out" not in options]


def weighted(outputs: Tensor, state: dict[str, Any], of: str) -> Tensor:
    """A number that depends on some outputs, or on all and on the last fast weights and traces."""
    loss = spread({"half": outputs[len(outputs) // 2], "last": outputs[-1]}.get(of, outputs))
    if of == "state":
        loss = loss + spread(state["fast"]["recurrent"]) + spread(state["hidden"])
        loss = loss + sum(spread(trace.square()) for trace in state.get("eligibility", {}).values())
    return loss


def gradients(loss: Tensor, values: list[Tensor]) -> list[Tensor]:
    given = torch.autograd.grad(loss, values, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(value) if one is None else one for one, value in zip(given, values, strict=True)]


@pytest.mark.parametrize(("rule", "options"), CASES, ids=str)
def test_values_and_gradients_are_those_of_dense_matrices(rule: str, options: dict[str, Any]) -> None:
    high = 3.0 if options["input"] == "clamp" else 30.0  # saturates units, unless they are what is shown, and some F
    for gain, eta in ((0.5, 0.7), (high, 0.05)):
        task = Held(gain)
        agent = make(task, rule, options, eta)
        assert agent.attaches_gradient()
        rates = agent._lived_rates(torch.zeros(3).double(), agent.rule.learning_rate())
        assert {part.dtype for part in rates} == {torch.float64}  # others would take kernels of their own
        episode = task.sample(3, generator())
        episode.inputs.requires_grad_()
        asked = [*agent.parameters(), episode.inputs]
        expected, state = live(agent, episode.inputs, None)
        lived = agents.rollout(agent, task, 3, generator(), episode=episode)
        torch.testing.assert_close(lived.outputs, expected, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(lived.state, state, rtol=1e-9, atol=1e-11)
        for of in ("half", "outputs", "state", "outputs"):  # and once more from the same life
            found = gradients(weighted(lived.outputs, lived.state, of), asked)
            for one, other in zip(found, gradients(weighted(expected, state, of), asked), strict=True):
                assert (one - other).norm() <= 1e-9 * other.norm() + 1e-10  # changes are taken off again


@pytest.mark.parametrize("eta", [0.003, 0.1, 1.0])
def test_traces_are_found_again_in_long_lives_at_single_precision(eta: float) -> None:
    task = Held(held=30, blank=20)
    agent = make(task, "additive-hebb,bound=none", {"modulation": "tanh", "retroactive": True}, eta)
    episode = task.sample(2, generator())
    expected, _ = live(agent, episode.inputs, None)
    exact = gradients(spread(expected), list(agent.parameters()))
    agent.float()
    single = replace(episode, inputs=episode.inputs.float(), targets=episode.targets.float())
    lived = agents.rollout(agent, task, 2, generator(), episode=single)
    for one, other in zip(gradients(spread(lived.outputs), list(agent.parameters())), exact, strict=True):
        assert (one - other).norm() <= 1e-4 * other.norm()


@pytest.mark.parametrize("options", [{}, {"modulation": "tanh", "retroactive": True}], ids=str)
def test_lives_by_reward_have_the_gradients_of_the_time_loop(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task("GridMaze,size=5,length=20")
    sizes = {"network": "plastic-rnn", "hidden": 8, "scale": 0.3, "seed": 0}
    agent = agents.make_for(task, rule="additive-hebb", **sizes, **options)
    values, found = list(agent.parameters()), []
    for attached in (True, False):
        if not attached:
            monkeypatch.setattr(PlasticRNN, "attaches_gradient", lambda self: False)
        lives = live_by_chance(agent, task, 4, generator())
        assert lives.outputs.requires_grad
        for outputs, activity in ((lives.outputs, lives.activity), relive(agent, lives.detach())):
            found.append((lives.actions, outputs, activity, *gradients(spread(outputs) + spread(activity), values)))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("eta", [-0.1, 2.5])
def test_traces_that_grow_are_formed_anew(eta: float) -> None:
    task = Held(held=9)
    agent = make(task, "additive-hebb,bound=none", {"modulation": "tanh", "retroactive": True, "scale": 0.1}, eta)
    episode = task.sample(2, generator())
    expected, _ = live(agent, episode.inputs, None)
    lived = agents.rollout(agent, task, 2, generator(), episode=episode)
    values = list(agent.parameters())
    for one, other in zip(*(gradients(spread(each), values) for each in (lived.outputs, expected)), strict=True):
        assert (one - other).norm() <= 1e-9 * other.norm() + 1e-12


def test_a_rate_that_is_no_number_is_seen_by_the_gradient() -> None:
    task = Held()
    agent = make(task, "additive-hebb,bound=none", {"modulation": "tanh", "retroactive": True}, float("nan"))
    lived = agents.rollout(agent, task, 2, generator(), episode=task.sample(2, generator()))
    (gradient,) = torch.autograd.grad(lived.outputs.sum(), agent.recurrent.weight)
    assert gradient.isnan().any()


def test_second_derivatives_are_refused() -> None:
    task = Held()
    agent = make(task, "additive-hebb", {"input": "add"})
    lived = agents.rollout(agent, task, 2, generator(), episode=task.sample(2, generator()))
    with pytest.raises(UsageError, match="leave out create_graph=True"):
        torch.autograd.grad(lived.outputs.sum(), agent.recurrent.weight, create_graph=True)


@pytest.mark.parametrize("names", [["modulator.weight"], ["rule.eta"], ["modulator.weight", "recurrent.plasticity"]])
def test_individuals_may_differ_by_any_part(names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    task = Held()
    agent = make(task, "additive-hebb", {"modulation": "sigmoid", "retroactive": True})
    own = dict(agent.named_parameters())
    values = {name: torch.stack([own[name], 1.5 * own[name]]).detach().requires_grad_() for name in names}
    episode = task.sample(3, generator())
    found = []
    for attached in (True, False):
        if not attached:
            monkeypatch.setattr(PlasticRNN, "attaches_gradient", lambda self: False)
        lived = agents.rollout(agent, task, 3, generator(), parameters=values, episode=episode)
        found.append(gradients(spread(lived.outputs), [*values.values(), agent.recurrent.weight]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-12)


def test_individuals_that_act_get_the_gradients_of_the_time_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task("GridMaze,size=5,length=12")
    agent = agents.make_for(task, network="plastic-rnn", rule="additive-hebb", hidden=6, scale=0.3, seed=0)
    weight = dict(agent.named_parameters())["recurrent.weight"]
    values = {"recurrent.weight": torch.stack([weight, -weight]).detach().requires_grad_()}
    found = []
    for attached in (True, False):
        if not attached:
            monkeypatch.setattr(PlasticRNN, "attaches_gradient", lambda self: False)
        lived = agents.rollout(
            agent, task, 3, generator(), parameters=values, act=lambda seen, output, state: output.argmax(-1)
        )
        found.append((lived.outputs, *gradients(spread(lived.outputs), list(values.values()))))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


class Rectified(PlasticRNN):
    def _activate(self, drive: Tensor, summed: Tensor, *, prune: bool) -> Tensor:
        return (drive + summed).relu()


class Negated(Hebbian):
    def change(self, signals: Signals) -> RankOne:
        return RankOne(-signals.pre, signals.post)


@pytest.mark.parametrize(
    ("rule", "options", "attaches"),
    [
        ("additive-hebb", {}, True),
        ("hebbian", {}, True),
        ("none", {}, False),
        ("oja", {}, False),  # reads F
        (f"{__name__}:Negated", {}, False),  # another product
        ("additive-hebb", {"network": f"{__name__}:Rectified"}, False),
        ("additive-hebb", {"max_norm": 1.0}, False),
        ("additive-hebb", {"modulation": "tanh", "fan_out": True}, False),
        ("additive-hebb,bound=none", {"hidden": 201}, False),  # kept as pairs
    ],
    ids=str,
)
def test_what_gets_its_gradients_attached(rule: str, options: dict[str, Any], attaches: bool) -> None:
    agent = agents.make(UNITS, 2, rule=rule, **{"network": "plastic-rnn", "hidden": 8, **options})
    assert agent.attaches_gradient() == attaches
