"""Replays `duan_*`: self-modulated RNN and LSTM with the Hebbian and the gradient rule."""

from typing import Any, get_args

import torch
from torch import Tensor

import agents
from agents.fast_weights.history import FastHistory
from agents.layers import Plasticity
from agents.networks.self_modulated import SelfModulatedNetwork
from plastic_envs.utils.errors import UnknownNameError
from tests.golden.forms import Replayed, reached, worse
from tests.golden.reading import Trace, refuse_unless

# which arrays of the trace make up each layer's matrix, rows in order
ROWS = {"encode": ("in_w", "in_b"), "cell": ("reci_w", "rech_w", "reci_b", "rech_b"), "decode": ("out_w", "out_b")}
TENSORS = [name for names in ROWS.values() for name in names]
# the program's start of the rate of each synapse; by "none" it is 1 and not learned
RATES = {name: name for name in get_args(Plasticity)}
# the trace's names for what a step records
RECORDS = {
    "step__modulated_lr_before_norm_clip": "rate",
    "step__modulated_wd": "decay",
    "step__full_output_z": "raw_output",
    "step__update_norm": "norm",
    "step__h": "hidden",
    "step__c": "memory",
}


def replay(trace: Trace) -> Replayed:
    """Both forms of the fast weights, dense steps and the rollout's, must agree with the trace; the worse counts."""
    dense = _replay(trace, rollout_form=False)
    if trace.limit("cfg__weight_clip_nan_means_none") is not None:
        return dense
    return worse(dense, _replay(trace, rollout_form=True), trace)


def _replay(trace: Trace, rollout_form: bool) -> Replayed:
    agent, batch, steps = _agent(trace), trace.integer("cfg__batch"), trace.integer("cfg__steps")
    hidden = agent.options.hidden
    state: dict[str, Any] = {"hidden": trace.tensor("init__h", batch, hidden)}
    if agent.cell_type.has_memory:
        state["memory"] = trace.tensor("init__c", batch, hidden)
    state["fast"] = {name: _matrix(trace, "init__plastic_", name, agent, batch) for name in agent.layers()}
    inputs = trace.tensor("input__x", steps, batch, agent.observation_size)
    targets = trace.tensor("target__y", steps, batch, agent.output_size)
    if rollout_form:
        state["fast"] = FastHistory(agent.layers(), state["fast"], state["hidden"].shape[:-1], chunk=3)
    records: list[dict[str, Tensor]] = []
    for observation in inputs:
        record: dict[str, Tensor] = {}
        record["output"], state = agent(observation, state, record)
        records.append(record)
    seen = {name: torch.stack([record[name] for record in records]) for name in records[0]}

    values = {name: seen[record] for name, record in RECORDS.items() if record in seen}
    values["step__output"] = seen["output"]
    weighted = seen["raw_output"] * trace.tensor("inner_loss_weight__out", agent.decode.outputs)
    values["step__inner_loss"] = weighted.square().mean((-2, -1))
    values["loss"] = (seen["output"] - targets).square().mean()
    for name in ROWS:
        values |= _split("step__plastic_", seen[f"fast.{name}"], name, agent)
    values["loss"].backward()
    return {name: value.detach() for name, value in values.items()}, _gradients(agent, trace)


def _agent(trace: Trace) -> SelfModulatedNetwork:
    """The network of the trace, every option read from it."""
    agent = agents.make(
        trace.integer("cfg__input_dim"),
        trace.integer("cfg__out_dim"),
        rule=trace.choice("cfg__plasticity_mode", {"hebbian": "hebbian", "gradient": "gradient"}),
        cell=trace.choice("cfg__rnn", {"RNN": "rnn", "LSTM": "lstm"}),
        hidden=trace.integer("cfg__hidden"),
        rate=trace.number("cfg__p_lr"),
        decay=trace.number("cfg__p_wd"),
        max_norm=trace.number("cfg__inner_grad_clip"),
        spare_outputs=trace.integer("cfg__extra_dim", 0),
        modulation="double-sigmoid" if trace.flag("cfg__modulation") else "none",
        plasticity=trace.choice("cfg__inner_lr_mode", RATES),
        layer_norm=trace.flag("cfg__layernorm"),
        clip=trace.limit("cfg__weight_clip_nan_means_none"),
        inner_loss_mean="batch",
    )
    assert isinstance(agent, SelfModulatedNetwork)
    agent.double()
    order = trace.words("cfg__plastic_flat_order", TENSORS)
    refuse_unless(len(order) == len(TENSORS), f"cfg__plastic_flat_order must name {', '.join(TENSORS)}")
    agent.norm_epsilon = trace.number("cfg__layernorm_eps")
    with torch.no_grad():
        for name, layer in agent.layers().items():
            layer.weight.copy_(_matrix(trace, "base_param__", name, agent))
            assert layer.plasticity is not None
            if isinstance(layer.plasticity, torch.nn.Parameter) or f"synaptic_lr__{ROWS[name][0]}" in trace:
                given = _matrix(trace, "synaptic_lr__", name, agent)
                learned = isinstance(layer.plasticity, torch.nn.Parameter)
                refuse_unless(learned or (given == 1).all(), "synaptic_lr must be 1, by cfg__inner_lr_mode none")
                layer.plasticity.copy_(given)
        if agent.loss_weight is not None:
            agent.loss_weight.copy_(trace.tensor("inner_loss_weight__out", agent.decode.outputs))
        if agent.norm_gain is not None and agent.norm_bias is not None:
            gain, bias = _layer_norm_names(trace)
            agent.norm_gain.copy_(trace.tensor(gain, agent.options.hidden))
            agent.norm_bias.copy_(trace.tensor(bias, agent.options.hidden))
    return agent


def _gradients(agent: SelfModulatedNetwork, trace: Trace) -> dict[str, Tensor]:
    """Our gradients by the trace's names; zero where the loss does not reach a parameter."""
    found: dict[str, Tensor] = {}
    for name, layer in agent.layers().items():
        for prefix, parameter in (("grad__base_param__", layer.weight), ("grad__synaptic_lr__", layer.plasticity)):
            if isinstance(parameter, torch.nn.Parameter):
                found |= _split(prefix, _gradient(parameter), name, agent)
    if agent.loss_weight is not None:
        found["grad__inner_loss_weight__out"] = _gradient(agent.loss_weight)
    if agent.norm_gain is not None and agent.norm_bias is not None:
        gain, bias = _layer_norm_names(trace)
        found[f"grad__{gain}"], found[f"grad__{bias}"] = _gradient(agent.norm_gain), _gradient(agent.norm_bias)
    return reached(found, trace)


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _layer_norm_names(trace: Trace) -> tuple[str, str]:
    """The arrays of gain and bias: any two vectors that name the layer normalisation."""
    names = [n for n in trace if "norm" in n or "__ln" in n]
    names = [n for n in names if not n.startswith(("cfg__", "grad__", "step__"))]
    gains = [n for n in names if n.endswith(("weight", "gain", "scale", "gamma", "_w", "_g"))]
    biases = [n for n in names if n.endswith(("bias", "shift", "beta", "_b"))]
    if len(gains) != 1 or len(biases) != 1:
        raise UnknownNameError(f"there must be one gain and one bias of the layer normalisation: found {names}")
    return gains[0], biases[0]


def _matrix(trace: Trace, prefix: str, layer: str, agent: SelfModulatedNetwork, *batch: int) -> Tensor:
    """A layer's matrix, weights and bias rows, put together."""
    parts = []
    for name, rows in _rows(layer, agent).items():
        outputs = agent.layers()[layer].outputs
        shape = (rows, outputs) if name.endswith("_w") else (outputs,)
        parts.append(trace.tensor(prefix + name, *batch, *shape).reshape(*batch, rows, outputs))
    return torch.cat(parts, -2)


def _rows(layer: str, agent: SelfModulatedNetwork) -> dict[str, int]:
    """How many rows of a layer's matrix each array of the trace is."""
    inputs = agent.observation_size if layer == "encode" else agent.options.hidden
    return {name: inputs if name.endswith("_w") else 1 for name in ROWS[layer]}


def _split(prefix: str, matrix: Tensor, layer: str, agent: SelfModulatedNetwork) -> dict[str, Tensor]:
    """A layer's matrix cut into the trace's arrays."""
    rows = _rows(layer, agent)
    parts = dict(zip(rows, matrix.split(list(rows.values()), -2), strict=True))
    return {prefix + name: part if name.endswith("_w") else part.squeeze(-2) for name, part in parts.items()}
