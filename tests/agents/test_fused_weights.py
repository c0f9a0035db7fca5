"""Fast weights by compiled passes: the mathematics of dense matrices."""

import math
from typing import Any

import numpy as np
import pytest
import torch

import agents
from agents.fast_weights import fused_kernels
from agents.fast_weights.fused import FusedWeights
from agents.networks.fast_network import FastWeightNetwork
from agents.networks.plastic_rnn import PlasticRNN
from agents.rules.base import RankOne
from tests.helpers.rollout_forms import (
    BOUNDED,
    INPUTS,
    UNBOUNDED,
    UNITS,
    Held,
    assert_same,
    assert_same_head,
    cases,
    generator,
    live,
    make,
)

CASES = [
    (rule, options)
    for rule, options in cases([*UNBOUNDED, *BOUNDED], [INPUTS[0], INPUTS[2], INPUTS[4]])
    if not ("retroactive" in options and "fan_out" in options)
]


def fused(agent: FastWeightNetwork, batch: int, steps: int, traces: bool) -> FusedWeights:
    decays = agent.rule.decay != "none"
    return FusedWeights(agent.layers(), (batch,), steps, decays=decays, bound=agent.rule.bound, traces=traces)


@pytest.mark.parametrize(("rule", "options"), CASES, ids=str)
@pytest.mark.parametrize("batch", [1, 3])
def test_values_and_gradients_are_those_of_dense_matrices(rule: str, options: dict[str, Any], batch: int) -> None:
    for gain in (0.5, 30.0) if batch > 1 else (30.0,):  # 30 saturates the units, and some fast weights
        task = Held(gain)
        agent = make(task, rule, options, 0.7)
        shown = task.sample(batch, generator()).inputs
        for of in ("half", "outputs", "trace") if batch > 1 else ("trace",):
            assert_same(agent, shown, fused, of=of, at=1e-10)  # taking changes off again loses two digits


@pytest.mark.parametrize("rule", ["decaying-hebb", "additive-hebb,limit=0.2"])
@pytest.mark.parametrize("modulation", [{}, {"modulation": "sigmoid", "fan_out": True}], ids=str)
def test_one_shot_heads(rule: str, modulation: dict[str, Any]) -> None:
    assert_same_head(rule, modulation, fused)


@pytest.mark.parametrize("rule", ["decaying-hebb", "additive-hebb", "additive-hebb,bound=none"])
def test_any_part_of_the_parameters_gets_its_gradient_and_again(rule: str) -> None:
    task = Held()
    agent = make(task, rule, {"input": "add"})
    shown = task.sample(2, generator()).inputs
    for name, value in agent.named_parameters():
        dense, _ = live(agent, shown, None)
        outputs, _ = live(agent, shown, fused)
        for step in (7, -1, -1):
            (expected,) = torch.autograd.grad(dense[step].sum(), value, retain_graph=True)
            (found,) = torch.autograd.grad(outputs[step].sum(), value, retain_graph=True)
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12, msg=name)
        agent.requires_grad_(False)
        value.requires_grad_()
        alone, _ = live(agent, shown, fused)
        (found,) = torch.autograd.grad(alone[-1].sum(), value)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12, msg=name)
        agent.requires_grad_()


@pytest.mark.parametrize("rule", ["decaying-hebb", "additive-hebb", "additive-hebb,bound=none"])
@pytest.mark.parametrize("shared", [(), ("recurrent.weight",), ("recurrent.plasticity", "rule.eta")], ids=str)
@pytest.mark.parametrize("attached", [False, True])
def test_a_population_lives_and_learns_as_individuals_do(
    rule: str, shared: tuple[str, ...], attached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not attached:
        monkeypatch.setattr(PlasticRNN, "attaches_gradient", lambda self: False)
    task = Held()
    agent = make(task, rule, {})
    episode = task.sample(3, generator())
    own = {name: value for name, value in agent.named_parameters() if name not in shared}
    values = {name: torch.stack([value * 0.5, value]).detach().requires_grad_() for name, value in own.items()}
    together = agents.rollout(agent, task, 3, generator(), parameters=values, episode=episode)
    assert isinstance(together.state["fast"], FusedWeights) != attached
    together.loss.sum().backward()
    for number in range(2):
        mine = {name: value.detach()[number].requires_grad_() for name, value in values.items()}
        alone = agents.rollout(agent, task, 3, generator(), parameters=mine, episode=episode)
        alone.loss.sum().backward()
        torch.testing.assert_close(together.outputs[number], alone.outputs, rtol=1e-12, atol=1e-14)
        for name, value in mine.items():
            torch.testing.assert_close(values[name].grad[number], value.grad, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("modulation", [{}, {"modulation": "sigmoid", "retroactive": True}], ids=str)
def test_rollouts_take_compiled_passes_and_come_to_the_same(modulation: dict[str, Any]) -> None:
    task = Held()
    agent = make(task, "additive-hebb,limit=0.5", {"input": "add", **modulation}, 0.7)
    episode = task.sample(3, generator())
    with torch.no_grad():
        lived = agents.rollout(agent, task, 3, generator(), episode=episode, record=["fast.recurrent"])
    assert isinstance(lived.state["fast"], FusedWeights)
    outputs, state = live(agent, episode.inputs, None)
    torch.testing.assert_close(lived.outputs, outputs, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(lived.records["fast.recurrent"][-1], state["fast"]["recurrent"], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(agent.close_state(lived.state), state, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("rule", "options", "steps", "taken"),
    [
        ("additive-hebb", {}, 14, True),
        ("additive-hebb", {"hidden": 300}, 14, True),  # bounds
        ("additive-hebb,bound=none", {"hidden": 200}, 14, True),
        ("additive-hebb,bound=none", {"hidden": 201}, 14, False),  # large
        ("additive-hebb", {}, None, False),  # single steps
        ("oja", {}, 14, False),  # reads F
        ("additive-hebb", {"modulation": "tanh", "retroactive": True}, 14, True),
        ("additive-hebb", {"modulation": "tanh", "retroactive": True, "fan_out": True}, 14, False),
    ],
)
def test_where_rollouts_take_them(rule: str, options: dict[str, Any], steps: int | None, taken: bool) -> None:
    agent = make(Held(), rule, options)
    for batch in ((4,), (2, 4)):
        assert isinstance(agent.initial_state(batch, steps=steps)["fast"], FusedWeights) == taken
    assert not isinstance(agent.to("meta").initial_state((4,), steps=steps)["fast"], FusedWeights)


def test_changes_without_a_product_between_them_all_count() -> None:
    agent = make(Held(), "decaying-hebb", {"input": "add"})
    kept = fused(agent, 2, 5, False)
    pre, post = torch.randn(2, 3, 2, UNITS, generator=generator()).double()
    half = torch.full((2,), 0.5).double()
    for pair in zip(pre, post, strict=True):
        kept.write({"recurrent": RankOne(*pair)}, half, half)
    expected = sum(0.5 ** (3 - i) * RankOne(pre[i], post[i]).dense() for i in range(3))
    torch.testing.assert_close(kept.trace("recurrent"), expected)
    torch.testing.assert_close(kept.matrix("recurrent"), agent.recurrent.plasticity * expected)


def arguments(decays: bool, limit: float | None, soft: bool, traces: bool) -> tuple[list[Any], list[Any]]:
    """What `advance` and `backward_pass` take, filled at random: 3 × 5 weights, 2 individuals of 2 episodes each."""
    n, m, rows, individuals = 3, 5, 4, 2
    draw = np.random.default_rng(1).standard_normal
    matrices, traced = draw((4, rows, n, m)) * 0.3, draw((2, rows))
    (fast, before, to_fast), (trace, before_trace, to_trace) = matrices[[0, 0, 1]], matrices[[2, 2, 3]]
    change = [draw((rows, n)), draw((rows, m)), draw(rows), draw(rows) if decays else np.ones(rows)]
    change.extend(traced if traces else [None, None])
    if not traces:
        trace = before_trace = to_trace = None
    asked = [math.inf if limit is None else limit, soft, *draw((2, individuals, n, m)), draw((rows, n))]
    given = [None if part is None else np.zeros_like(part) for part in (asked[-1], *change)]
    undo = None if decays or limit or traces else True
    forwards = [fast, trace, None, None, *change, *asked, np.zeros((rows, m))]
    to_plasticity = np.zeros((individuals, n, m))
    back = [before, before_trace, *change, *asked, draw((rows, m)), to_fast, to_trace, to_plasticity, *given, undo]
    return forwards, back


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("rule", ["additive-hebb", "additive-hebb,bound=none"])
def test_what_is_not_finite_is_seen(rule: str, value: float) -> None:
    agent = make(Held(), rule, {"input": "add"})
    kept = fused(agent, 2, 5, False)
    pre = torch.ones(2, UNITS).double()
    pre[1, 2] = value
    finite = kept.multiply("recurrent", pre).isfinite()
    assert finite[0].all()
    assert not finite[1].any()


@pytest.mark.parametrize("decays", [False, True])
@pytest.mark.parametrize(("limit", "soft"), [(None, False), (0.3, False), (0.3, True)])
@pytest.mark.parametrize("traces", [False, True])
def test_kernels_do_what_their_python_says(decays: bool, limit: float | None, soft: bool, traces: bool) -> None:
    kernels = fused_kernels.advance, fused_kernels.backward_pass
    compiled, plain = (arguments(decays, limit, soft, traces) for _ in range(2))
    for kernel, mine, its in zip(kernels, compiled, plain, strict=True):
        started = [one.copy() if isinstance(one, np.ndarray) else one for one in mine]
        kernel(*mine)
        kernel.py_func(*its)
        changed = 0
        for one, other, start in zip(mine, its, started, strict=True):
            if isinstance(one, np.ndarray):
                np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13)
                changed += not np.array_equal(one, start)
        assert changed >= 2
