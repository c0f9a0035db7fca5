"""Fast weights as distinct pairs: the mathematics of dense matrices, and nothing done twice."""

import math
from typing import Any

import pytest
import torch

import agents
from agents.fast_weights.distinct_pairs import DistinctPairs, saving
from agents.layers import PlasticLinear
from agents.networks.fast_network import FastWeightNetwork
from agents.rules.base import RankOne
from tests.helpers.rollout_forms import (
    UNBOUNDED,
    UNITS,
    Form,
    Held,
    assert_same,
    assert_same_head,
    cases,
    generator,
    live,
    make,
    spread,
)

CASES = cases(UNBOUNDED)


def pairs(chunk: int) -> Form:
    """Distinct pairs, folded every so many."""
    return lambda agent, batch, steps, traces: DistinctPairs(agent.layers(), batch, chunk, traces=traces)


@pytest.mark.parametrize(("rule", "options"), CASES, ids=str)
@pytest.mark.parametrize("batch", [1, 3])
def test_values_and_gradients_are_those_of_dense_matrices(rule: str, options: dict[str, Any], batch: int) -> None:
    for gain in (0.5, 30.0) if batch > 1 else (30.0,):  # 30 saturates the units and so holds the state
        task = Held(gain)
        agent = make(task, rule, options)
        shown = task.sample(batch, generator()).inputs
        assert_same(agent, shown, pairs(5), of="trace")
        if batch > 1:
            assert_same(agent, shown, pairs(100), of="last")
            assert_same(agent, shown, pairs(2), of="half")


@pytest.mark.parametrize("eta", [0.0, 1.0, 0.999])
def test_a_learning_rate_may_be_one(eta: float) -> None:
    task = Held()
    shown = task.sample(2, generator()).inputs
    for chunk in (1, 3, 100):
        assert_same(make(task, "decaying-hebb", {"input": "add"}, eta), shown, pairs(chunk), of="trace")


def test_a_rollout_keeps_pairs_where_that_is_cheaper_and_comes_to_the_same() -> None:
    task = Held(30.0)
    agent = make(task, "decaying-hebb", {"input": "add", "modulation": "sigmoid"})
    episode = task.sample(3, generator())
    agent.fused_to = 0  # type: ignore[misc]
    found = []
    for least in (math.inf, -math.inf):
        agent.pairs_from = least  # type: ignore[misc]
        agent.zero_grad()
        lived = agents.rollout(agent, task, 3, generator(), episode=episode, record=["fast.recurrent", "modulator"])
        assert isinstance(lived.state["fast"], DistinctPairs) == (least < 0)
        lived.loss.mean().backward()
        grads = {name: value.grad for name, value in agent.named_parameters()}
        found.append((lived.outputs, lived.records, agent.close_state(lived.state)["fast"], grads))
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"hidden": 300}, True),
        ({"hidden": 60}, False),
        ({"hidden": 300, "modulation": "sigmoid", "fan_out": True}, True),
        ({"hidden": 300, "modulation": "sigmoid", "retroactive": True}, True),
        ({"hidden": 300, "modulation": "sigmoid", "retroactive": True, "fan_out": True}, False),
    ],
)
def test_large_networks_keep_pairs(options: dict[str, Any], kept: bool) -> None:
    agent = make(Held(), "decaying-hebb", {"input": "add", **options})
    assert isinstance(agent.initial_state((4,), steps=14)["fast"], DistinctPairs) == kept
    assert not isinstance(agent.initial_state((4,))["fast"], DistinctPairs)  # single steps are dense
    assert not isinstance(agent.initial_state((2, 4), steps=14)["fast"], DistinctPairs)  # as are populations
    for rule in ("oja", "additive-hebb"):  # they read or bound F
        other = make(Held(), rule, {"input": "add", **options})
        assert not isinstance(other.initial_state((4,), steps=14)["fast"], DistinctPairs)


def test_narrow_layers_stay_dense() -> None:
    wide, narrow = (PlasticLinear(torch.zeros(shape)) for shape in ((576, 576), (576, 5)))
    assert saving({"layer": wide}, 64, 26) > FastWeightNetwork.pairs_from > 0 > saving({"layer": narrow}, 64, 26)


def test_a_population_lives_as_individuals_do() -> None:
    task = Held(30.0)
    agent = make(task, "decaying-hebb", {"input": "add"})
    agent.pairs_from, agent.fused_to = -math.inf, 0  # type: ignore[misc]
    episode = task.sample(3, generator())
    with torch.no_grad():
        alone = agents.rollout(agent, task, 3, generator(), episode=episode).outputs
        values = {name: torch.stack([value * 0.5, value]) for name, value in agent.named_parameters()}
        together = agents.rollout(agent, task, 3, generator(), parameters=values, episode=episode).outputs
    torch.testing.assert_close(together[1], alone, rtol=1e-10, atol=1e-12)


def test_held_states_are_remembered_once_and_multiplied_once() -> None:
    task = Held(30.0, held=6, blank=2)
    agent = make(task, "decaying-hebb", {"input": "add"})
    kept = DistinctPairs(agent.layers(), 3, chunk=100)
    state = agent.initial_state((3,)) | {"fast": kept}
    lengths, products = [], set()
    for observation in task.sample(3, generator()).inputs[:8]:
        _, state = agent.live(observation, state)
        layer = kept._layers["recurrent"]
        lengths.append(layer._chunk.length)
        products.add(layer._products)
    assert lengths == [1, 2, 2, 2, 2, 2, 3, 4]  # from nothing, itself, to the first blank state, to the second
    assert len(products) == 3  # of nothing, of the pattern, of the first blank state


def test_states_that_gradients_reach_are_never_merged() -> None:
    agent = make(Held(), "additive-hebb,bound=none", {"input": "add"})
    kept = DistinctPairs(agent.layers(), 1)
    pre, post = torch.ones(2, 1, UNITS, dtype=torch.float64, requires_grad=True)
    rate, decay = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for first, second in ((pre, post), (pre.detach(), post.detach()), (pre, post.detach()), (pre.detach(), post)):
        kept.write({"recurrent": RankOne(first, second)}, rate, decay)
    assert kept._layers["recurrent"]._chunk.length == 4
    (spread(kept.trace("recurrent"))).backward()


def test_dense_steps_go_on_where_a_rollout_ended() -> None:
    task = Held(30.0)
    agent = make(task, "decaying-hebb", {"input": "add"})
    shown = task.sample(2, generator()).inputs
    outputs, _ = live(agent, shown, None)
    _, state = live(agent, shown[:9], pairs(4))
    rest, _ = live(agent, shown[9:], None, state)
    torch.testing.assert_close(rest, outputs[9:], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("gain", [1.0, 30.0])
def test_any_part_of_the_parameters_gets_its_gradient_and_again(gain: float) -> None:
    task = Held(gain)
    agent = make(task, "decaying-hebb", {"input": "add", "modulation": "none"})
    shown = task.sample(2, generator()).inputs
    for name, value in agent.named_parameters():
        dense, _ = live(agent, shown, None)
        outputs, _ = live(agent, shown, pairs(3))
        (expected,) = torch.autograd.grad(dense[-1].sum(), value)
        for _ in range(2):
            (found,) = torch.autograd.grad(outputs[-1].sum(), value, retain_graph=True)
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12, msg=name)
        agent.requires_grad_(False)
        value.requires_grad_()
        alone, _ = live(agent, shown, pairs(3))
        (found,) = torch.autograd.grad(alone[-1].sum(), value)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12, msg=name)
        agent.requires_grad_()


def test_the_product_with_the_transpose_is_that_of_the_matrix() -> None:
    agent = make(Held(), "decaying-hebb", {"input": "add"})
    kept = DistinctPairs(agent.layers(), 2, chunk=2)
    pre, post = torch.randn(2, 3, 2, UNITS, generator=generator()).double()
    with torch.no_grad():
        for pair in zip(pre, post, strict=True):
            kept.write({"recurrent": RankOne(*pair)}, torch.full((2,), 0.5).double(), torch.full((2,), 0.5).double())
        fast = sum(0.5 ** (3 - i) * RankOne(pre[i], post[i]).dense() for i in range(3))
        expected = torch.einsum("bm,bnm->bn", post[0], agent.recurrent.plasticity * fast)[:, :4]
        torch.testing.assert_close(kept.read_back("recurrent", post[0], 4, torch.ones(2, 4)), 1 + expected)


@pytest.mark.parametrize("rule", ["decaying-hebb", "additive-hebb,bound=none"])
@pytest.mark.parametrize("modulation", [{}, {"modulation": "sigmoid", "fan_out": True}], ids=str)
def test_one_shot_heads(rule: str, modulation: dict[str, Any]) -> None:
    assert_same_head(rule, modulation, pairs(4))
