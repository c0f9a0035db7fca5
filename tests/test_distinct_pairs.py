"""Fast weights as distinct pairs: the mathematics of dense matrices, and nothing done twice."""

from typing import Any

import pytest
import torch
from torch import Tensor

import agents
from agents.distinct_pairs import DistinctPairs
from agents.fast_network import FastWeightNetwork
from agents.plastic_rnn import PlasticRNN
from plastic_envs.supervised import SupervisedTask
from plastic_envs.task import Episode, layout

UNITS = 6
RULES = ["decaying-hebb", "additive-hebb,bound=none", "hebbian"]
INPUTS: list[dict[str, Any]] = [
    {"input": "linear"},
    {"input": "add"},
    {"input": "add", "plasticity": "shared"},
    {"input": "clamp"},
    {"input": "clamp", "hidden": UNITS + 1},
]
MODULATIONS: list[dict[str, Any]] = [
    {},
    {"modulation": "sigmoid"},
    {"modulation": "sigmoid", "fan_out": True},
    {"modulation": "tanh", "decay": 0.0},
    {"modulation": "linear", "fan_out": True, "decay": 0.0},
]
CASES = [
    (rule, {**inputs, **modulation})
    for rule in RULES
    for inputs in INPUTS
    for modulation in MODULATIONS
    if not (rule == "decaying-hebb" and modulation.get("modulation") in ("tanh", "linear"))
]


class Held(SupervisedTask):
    """Random patterns, each held for some steps and followed by blank ones; the last step's activity is scored."""

    def __init__(self, gain: float = 1.0, held: int = 3, blank: int = 1) -> None:
        self.gain, self.held, self.blank = gain, held, blank
        self.horizon, self.output_size = 3 * (held + blank) + 2, UNITS
        self.slices = layout({"pattern": UNITS})

    def sample(self, batch_size: int, generator: torch.Generator) -> Episode:
        signs = torch.randint(2, (4, batch_size, UNITS), generator=generator).double() * 2 - 1
        shown = torch.zeros(self.horizon, batch_size, UNITS, dtype=torch.float64)
        for i in range(3):
            start = i * (self.held + self.blank)
            shown[start : start + self.held] = signs[i]
        shown[-2:] = signs[3] * (torch.rand(batch_size, UNITS, generator=generator) < 0.5)
        scored = torch.zeros(self.horizon, batch_size, dtype=torch.bool)
        scored[-1] = True
        targets = torch.randn(self.horizon, batch_size, UNITS, generator=generator).double()
        return Episode(shown * self.gain, targets, scored, scored, {})


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def make(task: SupervisedTask, rule: str, options: dict[str, Any], eta: float = 0.3) -> PlasticRNN:
    options = {"hidden": UNITS, "scale": 0.5, **options}
    agent = agents.make_for(task, network="plastic-rnn", rule=rule, seed=1, **options).double()
    assert isinstance(agent, PlasticRNN)
    own = agent.rule.learning_rate()
    if own is not None:
        own.data.fill_(eta)
    return agent


def live(agent: FastWeightNetwork, inputs: Tensor, chunk: int | None, state: Any = None) -> tuple[Tensor, Any]:
    """All steps, with distinct pairs or, for None, dense: outputs (T, B, K) and the last state in public form."""
    batch = inputs.shape[1]
    state = agent.initial_state((batch,)) if state is None else state
    if chunk is not None:
        state["fast"] = DistinctPairs(agent.layers(), batch, chunk)
    outputs = []
    for observation in inputs:
        output, state = agent.live(observation, state)
        outputs.append(output)
    return torch.stack(outputs), agent.close_state(state)


def spread(values: Tensor) -> Tensor:
    """A sum in which every number has a weight of its own."""
    return (values * torch.linspace(-1, 1, values.numel(), dtype=values.dtype).view_as(values)).sum()


def assert_same(agent: FastWeightNetwork, shown: Tensor, chunk: int, *, of: str) -> None:
    """Outputs, last state and all gradients in both forms: those of the last output, of all outputs, or of F too."""
    found = []
    for form in (None, chunk):
        inputs = shown.clone().requires_grad_()
        outputs, state = live(agent, inputs, form)
        fast = state["fast"][next(iter(agent.layers()))]
        loss = spread(outputs[-1] if of == "last" else outputs)
        loss = loss + spread(fast) if of == "trace" else loss
        asked = [*agent.parameters(), inputs]
        zeros = [torch.zeros_like(value) for value in asked]  # autograd need not know which gradients are zero
        given = torch.autograd.grad(loss, asked, allow_unused=True)
        found.append((outputs, fast, *(zero if x is None else x for x, zero in zip(given, zeros, strict=True))))
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("rule", "options"), CASES, ids=str)
@pytest.mark.parametrize("batch", [1, 3])
def test_values_and_gradients_are_those_of_dense_matrices(rule: str, options: dict[str, Any], batch: int) -> None:
    for gain in (0.5, 30.0):  # 30 saturates the units and so holds the state
        task = Held(gain)
        agent = make(task, rule, options)
        shown = task.sample(batch, generator()).inputs
        assert_same(agent, shown, 100, of="last")
        assert_same(agent, shown, 2, of="outputs")
        assert_same(agent, shown, 5, of="trace")


@pytest.mark.parametrize("eta", [0.0, 1.0, 0.999])
def test_a_learning_rate_may_be_one(eta: float) -> None:
    task = Held()
    shown = task.sample(2, generator()).inputs
    for chunk in (1, 3, 100):
        assert_same(make(task, "decaying-hebb", {"input": "add"}, eta), shown, chunk, of="trace")
