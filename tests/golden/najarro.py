"""Replays `najarro_*`: feedforward networks with random weights and a set of ABCD coefficients per connection."""

import dataclasses
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

import agents
from agents.random_network import RandomNetwork
from tests.golden.forms import worse

Trace = Mapping[str, Any]
Replayed = tuple[dict[str, Tensor], dict[str, Tensor]]

VARIANTS = {"ABCD_lr_D_out": "ABC+lr+D", "ABCD_lr_D_in_and_out": "ABCD+lr+D"}
COEFFICIENTS = {"lr": "η", "D_inside": "D", "D_outside": "D'"}
"""From the trace's names to ours, where they differ."""


def replay(trace: Trace) -> Replayed:
    """Both forms of the weights, new ones at each step and changed in place, must agree with the trace."""
    with torch.no_grad():
        return worse(_replay(trace, in_place=False), _replay(trace, in_place=True), trace)


def _replay(trace: Trace, in_place: bool) -> Replayed:
    agent = _agent(trace)
    raw = _agent(trace)  # shows the weights before they are normalised
    raw.options = dataclasses.replace(raw.options, normalise=False)
    birth = {layer: _matrix(trace, f"init__W{layer}_out_by_in") for layer in agent.shapes}
    state = agent.initial_state((1,), birth, len(trace["input__observation"]) if in_place else None)
    steps: list[dict[str, Tensor]] = []
    for observation in _tensor(trace, "input__observation"):
        seen: dict[str, Tensor] = {}
        _, before = raw(observation[None], agent.close_state(state))
        output, state = agent.live(observation[None], state, seen)
        last = len(agent.shapes)
        step = {"o0_used_in_update": observation[None], "network_output_before_squash": seen["raw_output"]}
        step |= {f"o{layer}_used_in_update": seen[f"activity.{layer}"] for layer in range(1, last + 1)}
        step["action"] = output.argmax(-1) if trace["cfg__discrete_action"] else output
        for layer in agent.shapes:
            step[f"W{layer}_after_update_before_normalisation"] = before["weights"][layer].transpose(1, 2)
            step[f"W{layer}_at_next_forward"] = state["weights"][layer].transpose(1, 2).clone()
        steps.append(step)
    return {f"step__{name}": torch.stack([step[name][0] for step in steps]) for name in steps[0]}, {}


def _agent(trace: Trace) -> RandomNetwork:
    """The network of the trace, every option and coefficient read from it."""
    sizes = [int(size) for size in trace["cfg__layer_sizes"]]
    name = str(trace["cfg__rule"])
    robot = str(trace["cfg__environment_style"]).startswith("bullet")
    agent = agents.make(
        sizes[0],
        sizes[-1],
        rule=f"abcd,variant={VARIANTS.get(name, name.replace('_', '+'))}",
        network="random-network",
        hidden=sizes[1:-1],
        start={"uni": "uniform", "normal": "normal"}[str(trace["cfg__init"])],
        normalise=not robot,
        output="tanh" if robot else "linear",
    )
    assert isinstance(agent, RandomNetwork)
    agent.double()
    columns = [str(column) for column in trace["cfg__coefficient_columns"]]
    flat = _tensor(trace, "param__hebbian_coefficients_flat").reshape(-1, len(columns))
    layers = flat.split([n * m for n, m in pairwise(sizes)])
    for ours, theirs in zip(agent.rule.coefficients, layers, strict=True):
        given = dict(zip(columns, theirs.T.reshape(-1, *ours.shape[1:]), strict=True))  # rows are input-major
        given = {COEFFICIENTS.get(column, column): value for column, value in given.items()}
        if "D" not in agent.rule.names and "D" in given:  # the only D, outside of the learning rate
            given["D'"] = given.pop("D")
        ours.data.copy_(torch.stack([given[name] for name in agent.rule.names]))
    return agent


def _matrix(trace: Trace, name: str) -> Tensor:
    """A matrix of the trace, output × input, as ours of one episode (1, n, m)."""
    return _tensor(trace, name).T.unsqueeze(0)


def _tensor(trace: Trace, name: str) -> Tensor:
    return torch.as_tensor(trace[name])
