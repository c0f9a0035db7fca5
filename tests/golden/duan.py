"""Replays `duan_*`: self-modulated RNN and LSTM with the Hebbian and the gradient rule."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

import agents
from agents.fast_history import FastHistory
from agents.self_modulated import SelfModulatedNetwork
from tests.golden.forms import worse

# which arrays of the trace make up each layer's matrix, rows in order
ROWS = {"encode": ("in_w", "in_b"), "cell": ("reci_w", "rech_w", "reci_b", "rech_b"), "decode": ("out_w", "out_b")}
# the trace's names for what a step records
RECORDS = {
    "step__modulated_lr_before_norm_clip": "rate",
    "step__modulated_wd": "decay",
    "step__full_output_z": "raw_output",
    "step__update_norm": "norm",
    "step__h": "hidden",
    "step__c": "memory",
}


def replay(trace: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Both forms of the fast weights, dense steps and the rollout's, must agree with the trace; the worse counts."""
    dense = _replay(trace, rollout_form=False)
    if _float(trace, "cfg__weight_clip_nan_means_none"):
        return dense
    return worse(dense, _replay(trace, rollout_form=True), trace)


def _replay(trace: Mapping[str, Any], rollout_form: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    agent = _agent(trace)
    plastic = tuple(agent.layers())
    state: dict[str, Any] = {"hidden": _tensor(trace, "init__h")}
    if agent.cell_type.has_memory:
        state["memory"] = _tensor(trace, "init__c")
    state["fast"] = {layer: _matrix(trace, "init__plastic_", layer) for layer in plastic}
    inputs, targets = _tensor(trace, "input__x"), _tensor(trace, "target__y")
    if rollout_form:
        state["fast"] = FastHistory(agent.layers(), state["fast"], state["hidden"].shape[:-1], chunk=3)
    steps: list[dict[str, Tensor]] = []
    for observation in inputs:
        record: dict[str, Tensor] = {}
        record["output"], state = agent(observation, state, record)
        steps.append(record)
    seen = {name: torch.stack([step[name] for step in steps]) for name in steps[0]}

    values = {name: seen[record] for name, record in RECORDS.items() if record in seen}
    values["step__output"] = seen["output"]
    weighted = seen["raw_output"] * _tensor(trace, "inner_loss_weight__out")
    values["step__inner_loss"] = weighted.square().mean((-2, -1))
    values["loss"] = (seen["output"] - targets).square().mean()
    for layer, parts in ROWS.items():
        values |= _split(trace, "step__plastic_", seen[f"fast.{layer}"], parts)
    values["loss"].backward()
    return {name: value.detach() for name, value in values.items()}, _gradients(agent, trace)


def _agent(trace: Mapping[str, Any]) -> SelfModulatedNetwork:
    """The network of the trace, every option read from it."""
    agent = agents.make(
        int(trace["cfg__input_dim"]),
        int(trace["cfg__out_dim"]),
        rule=str(trace["cfg__plasticity_mode"]).lower(),
        cell=str(trace["cfg__rnn"]).lower(),
        hidden=int(trace["cfg__hidden"]),
        rate=float(trace["cfg__p_lr"]),
        decay=float(trace["cfg__p_wd"]),
        max_norm=float(trace["cfg__inner_grad_clip"]),
        spare_outputs=int(trace["cfg__extra_dim"]),
        modulation="double-sigmoid" if trace["cfg__modulation"] else "none",
        plasticity=str(trace["cfg__inner_lr_mode"]),
        layer_norm=bool(trace["cfg__layernorm"]),
        clip=_float(trace, "cfg__weight_clip_nan_means_none"),
        inner_loss_mean="batch",
    )
    assert isinstance(agent, SelfModulatedNetwork)
    agent.double()
    with torch.no_grad():
        for name, layer in agent.layers().items():
            layer.weight.copy_(_matrix(trace, "base_param__", name))
            if f"synaptic_lr__{ROWS[name][0]}" in trace and layer.plasticity is not None:
                layer.plasticity.copy_(_matrix(trace, "synaptic_lr__", name))
        if agent.loss_weight is not None:
            agent.loss_weight.copy_(_tensor(trace, "inner_loss_weight__out"))
        if agent.norm_gain is not None and agent.norm_bias is not None:
            gain, bias = _layer_norm_names(trace)
            agent.norm_gain.copy_(_tensor(trace, gain))
            agent.norm_bias.copy_(_tensor(trace, bias))
            agent.norm_epsilon = float(trace["cfg__layernorm_eps"])
    return agent


def _gradients(agent: SelfModulatedNetwork, trace: Mapping[str, Any]) -> dict[str, Tensor]:
    """Our gradients by the trace's names; zero where the loss does not reach a parameter."""
    found: dict[str, Tensor] = {}
    for name, layer in agent.layers().items():
        for prefix, parameter in (("grad__base_param__", layer.weight), ("grad__synaptic_lr__", layer.plasticity)):
            if isinstance(parameter, torch.nn.Parameter):
                found |= _split(trace, prefix, _gradient(parameter), ROWS[name])
    if agent.loss_weight is not None:
        found["grad__inner_loss_weight__out"] = _gradient(agent.loss_weight)
    if agent.norm_gain is not None and agent.norm_bias is not None:
        gain, bias = _layer_norm_names(trace)
        found[f"grad__{gain}"], found[f"grad__{bias}"] = _gradient(agent.norm_gain), _gradient(agent.norm_bias)
    unreached = {f"grad__{name}" for name in map(str, trace["cfg__params_with_no_gradient_path"])}
    return {name: value for name, value in found.items() if name in trace or name not in unreached}


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _layer_norm_names(trace: Mapping[str, Any]) -> tuple[str, str]:
    """The arrays of gain and bias: any two vectors that name the layer normalisation."""
    names = [n for n in trace if "norm" in n or "__ln" in n]
    names = [n for n in names if not n.startswith(("cfg__", "grad__", "step__"))]
    gains = [n for n in names if n.endswith(("weight", "gain", "scale", "gamma", "_w", "_g"))]
    biases = [n for n in names if n.endswith(("bias", "shift", "beta", "_b"))]
    if len(gains) != 1 or len(biases) != 1:
        raise KeyError(f"gain and bias of the layer normalisation, among {names}")
    return gains[0], biases[0]


def _tensor(trace: Mapping[str, Any], name: str) -> Tensor:
    return torch.as_tensor(trace[name])


def _float(trace: Mapping[str, Any], name: str) -> float | None:
    """A number, or None where the trace says not-a-number."""
    return None if np.isnan(trace[name]) else float(trace[name])


def _matrix(trace: Mapping[str, Any], prefix: str, layer: str) -> Tensor:
    """A layer's matrix, weights and bias rows, put together."""
    parts = [_tensor(trace, prefix + part) for part in ROWS[layer]]
    return torch.cat(
        [part if name.endswith("_w") else part.unsqueeze(-2) for name, part in zip(ROWS[layer], parts, strict=True)], -2
    )


def _split(trace: Mapping[str, Any], prefix: str, matrix: Tensor, parts: tuple[str, ...]) -> dict[str, Tensor]:
    """A layer's matrix cut into the trace's arrays."""
    found, start = {}, 0
    for part in parts:
        if part.endswith("_w"):
            rows = len(trace[f"base_param__{part}"])
            found[prefix + part] = matrix[..., start : start + rows, :]
        else:
            rows = 1
            found[prefix + part] = matrix[..., start, :]
        start += rows
    return found
