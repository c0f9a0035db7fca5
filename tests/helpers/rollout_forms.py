"""Fast weights in the forms that rollouts keep them in, held against dense matrices."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

import agents
from agents.fast_weights.rollout_weights import RolloutWeights
from agents.networks.fast_network import FastWeightNetwork
from agents.networks.plastic_rnn import PlasticRNN
from plastic_envs.core.supervised import SupervisedTask
from plastic_envs.core.task import Episode, layout

Form = Callable[[FastWeightNetwork, int, int, bool], RolloutWeights]
"""From an agent, the numbers of episodes and steps, and whether there are eligibility traces."""

UNITS = 6
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
    {"modulation": "sigmoid", "retroactive": True},
    {"modulation": "tanh", "retroactive": True, "decay": 0.0},
]


UNBOUNDED = ["decaying-hebb", "additive-hebb,bound=none", "hebbian"]
BOUNDED = ["additive-hebb,limit=0.4", "additive-hebb,bound=soft,limit=0.6"]


def cases(rules: Sequence[str], inputs: Sequence[dict[str, Any]] = INPUTS) -> list[tuple[str, dict[str, Any]]]:
    """Rules with the options of networks that they can live on."""
    return [
        (rule, {**given, **modulation})
        for rule in rules
        for given in inputs
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


def live(agent: FastWeightNetwork, inputs: Tensor, form: Form | None, state: Any = None) -> tuple[Tensor, Any]:
    """All steps, in a form or, for None, dense: outputs (T, B, K) and the last state in public form."""
    state = agent.initial_state((inputs.shape[1],)) if state is None else state
    if form is not None:
        traces = state.pop("eligibility", None) is not None
        state["fast"] = form(agent, inputs.shape[1], len(inputs), traces)
    outputs = []
    for observation in inputs:
        output, state = agent.live(observation, state)
        outputs.append(output)
    return torch.stack(outputs), agent.close_state(state)


def spread(values: Tensor) -> Tensor:
    """A sum in which every number has a weight of its own."""
    return (values * torch.linspace(-1, 1, values.numel(), dtype=values.dtype).view_as(values)).sum()


def assert_same(agent: FastWeightNetwork, shown: Tensor, form: Form, *, of: str, at: float = 1e-12) -> None:
    """Outputs, last state and all gradients in both forms: of the first half's last output, of the last, all, or F too.

    Numbers may differ by `at`, or by a part of 1e-9.
    """
    found = []
    for one in (None, form):
        inputs = shown.clone().requires_grad_()
        outputs, state = live(agent, inputs, one)
        fast = state["fast"][next(iter(agent.layers()))]
        loss = spread({"half": outputs[len(outputs) // 2], "last": outputs[-1]}.get(of, outputs))
        loss = loss + spread(fast) if of == "trace" else loss
        traces = state.get("eligibility", {})
        for trace in traces.values() if of == "trace" else ():
            loss = loss + spread(trace.square())
        asked = [*agent.parameters(), inputs]
        zeros = [torch.zeros_like(value) for value in asked]  # autograd need not know which gradients are zero
        given = torch.autograd.grad(loss, asked, allow_unused=True)
        found.append((outputs, fast, traces, *(zero if x is None else x for x, zero in zip(given, zeros, strict=True))))
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=at)


def assert_same_head(rule: str, options: dict[str, Any], form: Form) -> None:
    """The same of a network whose last layer alone is plastic."""
    agent = agents.make(9, 3, network="plastic-head", rule=rule, scale=0.4, label_gain=3.0, **options).double()
    assert isinstance(agent, FastWeightNetwork)
    shown = torch.cat([Held().sample(2, generator()).inputs, torch.rand(14, 2, 3, generator=generator()).double()], -1)
    assert_same(agent, shown, form, of="trace")
