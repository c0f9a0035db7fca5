"""Replays `miconi_*`: recurrent networks with differentiable plasticity, neuromodulation, and the one-shot head."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

import agents
from agents.plastic_head import PlasticHead
from agents.plastic_rnn import PlasticRNN

Trace = Mapping[str, Any]
Replayed = tuple[dict[str, Tensor], dict[str, Tensor]]

# addpw, the program's number for how products add up
RULES = {0: "decaying-hebb", 1: "additive-hebb,bound=none", 2: "additive-hebb,bound=soft", 3: "additive-hebb"}


def replay(trace: Trace) -> Replayed:
    """Pattern and image completion, the mazes, or the one-shot head, told apart by their options."""
    if "cfg__label_gain" in trace:
        return _head(trace)
    return _maze(trace) if "param__input_to_hidden_weight" in trace else _completion(trace)


def _completion(trace: Trace) -> Replayed:
    """h' = tanh(h (w + α Q) + x), or with clamped units; one episode."""
    units = len(trace["init__y"])
    options = {"input": "clamp" if "cfg__clamping" in trace else "add", "hidden": units}
    shared = "shared" if trace["param__alpha_pre_by_post"].size == 1 else "connection"
    agent = agents.make(units, units, rule="decaying-hebb", network="plastic-rnn", plasticity=shared, **options)
    names = {
        "w": ("recurrent.weight", "w_pre_by_post"),
        "alpha": ("recurrent.plasticity", "alpha_pre_by_post"),
        "eta": ("rule.eta", "eta"),
    }
    _set(agent, trace, {ours: f"param__{theirs}" for ours, theirs in names.values()})
    state = {"hidden": _tensor(trace, "init__y")[None], "fast": {"recurrent": _tensor(trace, "init__hebb")[None]}}
    steps, fast = [], []
    for observation in _tensor(trace, "input__x"):
        output, state = agent(observation[None], state)
        steps.append(output[0])
        fast.append(state["fast"]["recurrent"][0])
    size = len(trace["target"])
    loss = (steps[-1][:size] - _tensor(trace, "target")).square().sum()
    loss.backward()
    values = {"step__y": torch.stack(steps), "step__hebb_pre_by_post_after": torch.stack(fast), "loss": loss}
    return values, _gradients(agent, trace, {ours: f"grad__{name}" for name, (ours, _) in names.items()})


def _maze(trace: Trace) -> Replayed:
    """An affine readout of h' and a modulator of it; the plastic matrix is post × pre except with fan-out."""
    fan_out = "param__modulator_fanout_weight" in trace
    kind = "modplast" if fan_out else str(trace["cfg__network_type"])
    modulated = kind != "plastic"
    rule = f"additive-hebb,limit={float(trace['cfg__clip'])}" if fan_out else RULES[int(trace["cfg__addpw"])]
    if kind == "modul" and rule.endswith("soft"):
        rule += ",limit=0.99999"
    n_inputs, n_scores = trace["input__x"].shape[-1], trace["target__scores"].shape[-1]
    modulation = str(trace.get("cfg__modulator_nonlinearity", "tanh")) if modulated else "none"
    agent = agents.make(
        n_inputs,
        n_scores + 1,
        rule=rule,
        network="plastic-rnn",
        hidden=int(trace["cfg__hidden"]),
        # a trace that fades is refused with a modulation that can be negative, as which the program takes it
        modulation="sigmoid" if modulated and rule == "decaying-hebb" else modulation,
        fan_out=fan_out,
        retroactive=kind == "modul",
    )
    assert isinstance(agent, PlasticRNN)
    agent.options = dataclasses.replace(agent.options, modulation=modulation)
    order = "pre_by_post" if fan_out else "post_by_pre"
    names = {"recurrent.weight": f"w_{order}", "recurrent.plasticity": f"alpha_{order}"}
    if kind == "plastic":
        names["rule.eta"] = "eta"
    elif kind == "modul":
        names["rule.eta"] = "eta_eligibility"
    layers = {"encode": ["input_to_hidden"], "decode": ["score", "value"]}
    if modulated:
        layers["modulator"] = ["modulator"]
    if fan_out:
        layers["fan_out.recurrent"] = ["modulator_fanout"]
    _set(agent, trace, {ours: f"param__{theirs}" for ours, theirs in names.items()})
    with torch.no_grad():
        for ours, theirs in layers.items():
            rows = [_affine(trace, f"param__{name}") for name in theirs]
            agent.get_parameter(f"{ours}.weight").copy_(torch.cat(rows, -1))

    def turned(name: str) -> str:
        return next((key for key in trace if key.startswith(name)), name)

    plastic = turned("init__plastic_weights" if kind == "modul" else "init__hebb")
    state: dict[str, Any] = {"hidden": _tensor(trace, "init__h"), "fast": {"recurrent": _matrix(trace, plastic, order)}}
    if kind == "modul":
        state["eligibility"] = {"recurrent": _matrix(trace, "init__eligibility", order)}
    found: dict[str, list[Tensor]] = {}
    for observation in _tensor(trace, "input__x"):
        output, state = agent(observation, state)
        fast = state["fast"]["recurrent"]
        step = {"scores": output[..., :-1], "value": output[..., -1:], "h": state["hidden"]}
        step["plastic_weights" if kind == "modul" else "hebb"] = fast
        if kind == "modul":
            step["eligibility"] = state["eligibility"]["recurrent"]
        if modulated:
            raw = agent._modulate(state["hidden"])
            assert raw is not None
            step["modulator_pre_nonlinearity"] = raw.unsqueeze(-1)
        for name, value in step.items():
            found.setdefault(name, []).append(value)
    values = {}
    for name, parts in found.items():
        theirs = turned(f"step__{name}")
        value = torch.stack(parts)
        values[theirs] = value.mT if theirs.endswith("post_by_pre_after") else value
    errors = [values[f"step__{n}"] - _tensor(trace, f"target__{n}") for n in ("scores", "value")]
    values["loss"] = torch.stack([error.square().mean((1, 2)) for error in errors]).sum(0).mean()
    values["loss"].backward()
    gradients = _gradients(agent, trace, {ours: f"grad__{theirs}" for ours, theirs in names.items()})
    for ours, theirs in layers.items():
        gradient = _gradient(agent.get_parameter(f"{ours}.weight")).split(
            [len(trace[f"param__{name}_bias"]) for name in theirs], -1
        )
        for name, part in zip(theirs, gradient, strict=True):
            gradients[f"grad__{name}_weight"], gradients[f"grad__{name}_bias"] = part[:-1].mT, part[-1]
    return values, {name: value for name, value in gradients.items() if name in trace}


def _head(trace: Trace) -> Replayed:
    """Features of a convolutional front end, a plastic layer, and the label with its gain."""
    rule = {"hebb": "decaying-hebb", "oja": "oja"}[str(trace["cfg__rule"])]
    features, classes = trace["param__w_pre_by_post"].shape
    agent = agents.make(
        features + classes,
        classes,
        rule=rule,
        network="plastic-head",
        plasticity="shared" if trace["param__alpha"].size == 1 else "connection",
        label_gain=float(trace["cfg__label_gain"]),
    )
    assert isinstance(agent, PlasticHead)
    names = {"head.weight": "w_pre_by_post", "head.plasticity": "alpha", "rule.eta": "eta"}
    _set(agent, trace, {ours: f"param__{theirs}" for ours, theirs in names.items()})
    convolutions = [f"conv{number}_{kind}" for number in range(1, 5) for kind in ("weight", "bias")]
    kernels = [_tensor(trace, f"param__{name}").requires_grad_() for name in convolutions]
    squash = {"tanh": torch.tanh, "relu": torch.relu, "selu": torch.selu}[str(trace["cfg__conv_activation"])]
    image = _tensor(trace, "input__image").unsqueeze(1)
    for weight, bias in zip(kernels[::2], kernels[1::2], strict=True):
        image = squash(torch.nn.functional.conv2d(image, weight, bias, stride=int(trace["cfg__conv_stride"])))
    embedding = image.flatten(1)
    labels = _tensor(trace, "input__label_onehot_zero_when_hidden")
    state: Any = {"fast": {"head": _tensor(trace, "init__hebb")[None]}}
    probabilities, fast = [], []
    for feature, label in zip(embedding, labels, strict=True):
        logits, state = agent(torch.cat([feature, label])[None], state)
        probabilities.append(logits[0].softmax(-1))
        fast.append(state["fast"]["head"][0])
    loss = binary_cross_entropy(probabilities[-1], _tensor(trace, "target__onehot"))
    loss.backward()
    values = {
        "step__embedding": embedding.detach(),
        "step__softmax_output": torch.stack(probabilities),
        "step__hebb_pre_by_post_after": torch.stack(fast),
        "loss": loss,
    }
    ours = {"head.weight": "grad__w", "head.plasticity": "grad__alpha", "rule.eta": "grad__eta"}
    gradients = _gradients(agent, trace, ours)
    gradients |= {f"grad__{name}": _gradient(kernel) for name, kernel in zip(convolutions, kernels, strict=True)}
    return values, gradients


def _set(agent: agents.Agent, trace: Trace, names: Mapping[str, str]) -> None:
    """Give our parameters the values of the trace, whose matrices may lie the other way round."""
    agent.double()
    with torch.no_grad():
        for ours, theirs in names.items():
            parameter = agent.get_parameter(ours)
            value = _tensor(trace, theirs)
            parameter.copy_(value.mT if theirs.endswith("post_by_pre") else value.reshape(parameter.shape))


def _gradients(agent: agents.Agent, trace: Trace, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Our gradients in the shape and order of the trace's."""
    found = {}
    for ours, theirs in names.items():
        value = _gradient(agent.get_parameter(ours))
        found[theirs] = value.mT if theirs.endswith("post_by_pre") else value.reshape(trace[theirs].shape)
    return found


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _affine(trace: Trace, name: str) -> Tensor:
    """Weight and bias as the rows of one matrix, inputs × outputs."""
    return torch.cat([_tensor(trace, f"{name}_weight").mT, _tensor(trace, f"{name}_bias")[None]])


def _matrix(trace: Trace, name: str, order: str) -> Tensor:
    value = _tensor(trace, name)
    return value.mT.contiguous() if order == "post_by_pre" else value


def _tensor(trace: Trace, name: str) -> Tensor:
    return torch.as_tensor(trace[name]).double()
