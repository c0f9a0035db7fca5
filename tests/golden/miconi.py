"""Replays `miconi_*`: recurrent networks with differentiable plasticity, neuromodulation, and the one-shot head."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

import agents
from agents.networks.modulation import Modulation
from agents.networks.plastic_head import PlasticHead
from agents.networks.plastic_rnn import PlasticRNN
from tests.golden.forms import Replayed, reached
from tests.golden.reading import Trace, refuse_unless

# addpw, the program's number for how products add up
RULES = ("decaying-hebb", "additive-hebb,bound=none", "additive-hebb,bound=soft", "additive-hebb")
# the program's names are short, those of the recorded traces long
MODULATIONS: dict[str, Modulation] = {
    "tanh": "tanh",
    "sig": "sigmoid",
    "sigmoid": "sigmoid",
    "lin": "linear",
    "linear": "linear",
}
SQUASH = {"tanh": torch.tanh, "relu": torch.relu, "selu": torch.selu}
COMPLETION_LOSS = "sum of squared error on first pattern_size units at last step"
MAZE_LOSS = "mean over steps of (mean sq err of scores + mean sq err of value)"
CLAMPING = "unit is clamped wherever its input is nonzero"


def replay(trace: Trace) -> Replayed:
    """Pattern and image completion, the mazes, or the one-shot head, told apart by their options."""
    if "cfg__label_gain" in trace:
        return _head(trace)
    return _maze(trace) if any(name.startswith("param__input_to_hidden") for name in trace) else _completion(trace)


def _completion(trace: Trace) -> Replayed:
    """h' = tanh(h (w + α Q) + x), or with clamped units; one episode."""
    size = trace.integer("cfg__pattern_size")
    units = size + 1  # the last is driven by the constant input
    inputs = trace.tensor("input__x", None, units)
    clamp = "cfg__clamping" in trace
    if clamp:
        trace.choice("cfg__clamping", {CLAMPING: None})
        shared = trace.flag("cfg__alpha_shared")
    else:
        shared = trace["param__alpha_pre_by_post"].size == 1
        boost = trace.number("cfg__input_boost")
        refuse_unless(
            (inputs[:, -1] == boost).all(), f"input__x must drive the last unit with cfg__input_boost={boost}"
        )
    trace.choice("cfg__loss", {COMPLETION_LOSS: None})
    options = {"input": "clamp" if clamp else "add", "plasticity": "shared" if shared else "connection"}
    agent = agents.make(units, units, rule="decaying-hebb", network="plastic-rnn", hidden=units, **options)
    names = {"recurrent.weight": "w_pre_by_post", "recurrent.plasticity": "alpha_pre_by_post", "rule.eta": "eta"}
    _set(agent, trace, {ours: f"param__{theirs}" for ours, theirs in names.items()})
    state = {
        "hidden": trace.tensor("init__y", units)[None],
        "fast": {"recurrent": trace.tensor("init__hebb", units, units)[None]},
    }
    steps, fast = [], []
    for observation in inputs:
        output, state = agent(observation[None], state)
        steps.append(output[0])
        fast.append(state["fast"]["recurrent"][0])
    loss = (steps[-1][:size] - trace.tensor("target", size)).square().sum()
    loss.backward()
    values = {"step__y": torch.stack(steps), "step__hebb_pre_by_post_after": torch.stack(fast), "loss": loss}
    return values, {
        f"grad__{theirs.removesuffix('_pre_by_post')}": _gradient(agent.get_parameter(ours)).view(
            trace[f"param__{theirs}"].shape
        )
        for ours, theirs in names.items()
    }


def _maze(trace: Trace) -> Replayed:
    """An affine readout of h' and a modulator of it; the plastic matrix is post × pre except with fan-out."""
    units, batch, n_steps = (trace.integer(f"cfg__{name}") for name in ("hidden", "batch", "steps"))
    inputs, scores = (trace.tensor(name, n_steps, batch, None) for name in ("input__x", "target__scores"))
    fan_out = "param__modulator_fanout_weight" in trace
    kind, rule, modulation = _learning(trace, fan_out)
    modulated = kind != "plastic"
    agent = agents.make(
        inputs.shape[-1],
        scores.shape[-1] + 1,
        rule=rule,
        network="plastic-rnn",
        hidden=units,
        # a trace that decays is refused with a modulation that can be negative, as which the program takes it
        modulation="sigmoid" if modulated and rule == "decaying-hebb" else modulation,
        fan_out=fan_out,
        retroactive=kind == "modul",
    )
    assert isinstance(agent, PlasticRNN)
    agent.options = dataclasses.replace(agent.options, modulation=modulation)
    order = "pre_by_post" if fan_out else "post_by_pre"
    names = {"recurrent.weight": f"w_{order}", "recurrent.plasticity": f"alpha_{order}"}
    names |= {"plastic": {"rule.eta": "eta"}, "modul": {"rule.eta": "eta_eligibility"}}.get(kind, {})
    layers = {"encode": ["input_to_hidden"], "decode": ["score", "value"]}
    if modulated:
        layers["modulator"] = ["modulator"]
    if fan_out:
        layers["fan_out.recurrent"] = ["modulator_fanout"]
    _set(agent, trace, {ours: f"param__{theirs}" for ours, theirs in names.items()})
    outputs = {
        "input_to_hidden": units,
        "score": scores.shape[-1],
        "value": 1,
        "modulator": 1,
        "modulator_fanout": units,
    }
    with torch.no_grad():
        for ours, theirs in layers.items():
            parameter = agent.get_parameter(f"{ours}.weight")
            rows = [_affine(trace, f"param__{name}", outputs[name], len(parameter) - 1) for name in theirs]
            parameter.copy_(torch.cat(rows, -1))

    plastic = "plastic_weights" if kind == "modul" else "hebb"
    state: dict[str, Any] = {"hidden": trace.tensor("init__h", batch, units)}
    for ours, theirs in {"fast": plastic, **({"eligibility": "eligibility"} if kind == "modul" else {})}.items():
        given = trace.tensor(f"init__{theirs}", batch, units, units)
        state[ours] = {"recurrent": given if fan_out else given.mT.contiguous()}
    found: dict[str, list[Tensor]] = {}
    for observation in inputs:
        output, state = agent(observation, state)
        step = {"scores": output[..., :-1], "value": output[..., -1:], "h": state["hidden"]}
        step[f"{plastic}_{order}_after"] = state["fast"]["recurrent"]
        if kind == "modul":
            step[f"eligibility_{order}_after"] = state["eligibility"]["recurrent"]
        if modulated and not fan_out:
            raw = agent.modulate(state["hidden"])
            assert raw is not None
            step["modulator_pre_nonlinearity"] = raw.unsqueeze(-1)
        for name, value in step.items():
            found.setdefault(f"step__{name}", []).append(value.mT if "post_by_pre" in name else value)
    values = {name: torch.stack(parts) for name, parts in found.items()}
    targets = {"scores": scores, "value": trace.tensor("target__value", n_steps, batch, 1)}
    errors = [values[f"step__{name}"] - target for name, target in targets.items()]
    values["loss"] = torch.stack([error.square().mean((1, 2)) for error in errors]).sum(0).mean()
    values["loss"].backward()
    gradients = {}
    for ours, theirs in names.items():
        gradient = _gradient(agent.get_parameter(ours))
        gradients[theirs] = (
            gradient.mT if theirs.endswith("post_by_pre") else gradient.view(trace[f"param__{theirs}"].shape)
        )
    for ours, parts in layers.items():
        gradient = _gradient(agent.get_parameter(f"{ours}.weight"))
        for name, part in zip(parts, gradient.split([outputs[name] for name in parts], -1), strict=True):
            gradients[f"{name}_weight"], gradients[f"{name}_bias"] = part[:-1].mT, part[-1]
    named = {f"grad__{name}": value for name, value in gradients.items()}
    return values, named if fan_out else reached(named, trace)


def _learning(trace: Trace, fan_out: bool) -> tuple[str, str, Modulation]:
    """The kind of network, its rule and what becomes of its modulator."""
    trace.choice("cfg__loss", {MAZE_LOSS: None})
    if fan_out:
        return "modplast", f"additive-hebb,limit={trace.number('cfg__clip')}", "tanh"
    kind = trace.choice("cfg__network_type", {name: name for name in ("plastic", "modplast", "modul")})
    addpw = trace.integer("cfg__addpw", 0, 3)
    crashes = kind == "modul" and addpw == 0
    refuse_unless(
        trace.flag("cfg__repaired_code") or not crashes, "the program runs modul with addpw 0 only if repaired"
    )
    rule = RULES[addpw] + (",limit=0.99999" if kind == "modul" and addpw == 2 else "")
    if kind == "plastic":
        return (
            kind,
            rule,
            trace.choice("cfg__modulator_nonlinearity", {"not_used": "none", **dict.fromkeys(MODULATIONS, "none")}),
        )
    return kind, rule, trace.choice("cfg__modulator_nonlinearity", MODULATIONS)


def _head(trace: Trace) -> Replayed:
    """Features of a convolutional front end, a plastic layer, and the label with its gain."""
    features, classes, stride, width = (
        trace.integer(f"cfg__{name}") for name in ("n_features", "n_classes", "conv_stride", "conv_kernel")
    )
    agent = agents.make(
        features + classes,
        classes,
        rule=trace.choice("cfg__rule", {"hebb": "decaying-hebb", "oja": "oja"}),
        network="plastic-head",
        plasticity=trace.choice("cfg__alpha", {"free": "connection", "yoked": "shared"}),
        label_gain=trace.number("cfg__label_gain"),
    )
    assert isinstance(agent, PlasticHead)
    names = {"head.weight": "w_pre_by_post", "head.plasticity": "alpha", "rule.eta": "eta"}
    _set(agent, trace, {ours: f"param__{theirs}" for ours, theirs in names.items()})
    image = trace.tensor("input__image", None, None, None).unsqueeze(1)
    sides = list(image.shape[2:])
    for _ in range(4):
        sides = [(side - width) // stride + 1 for side in sides]
    refuse_unless(
        sides == [1, 1],
        f"input__image must have a size of which four convolutions leave one pixel, not {tuple(image.shape[2:])}",
    )
    squash = trace.choice("cfg__conv_activation", SQUASH)
    kernels = {}
    for number in range(1, 5):
        weight = trace.tensor(f"param__conv{number}_weight", features, image.shape[1], width, width).requires_grad_()
        bias = trace.tensor(f"param__conv{number}_bias", features).requires_grad_()
        kernels |= {f"conv{number}_weight": weight, f"conv{number}_bias": bias}
        image = squash(torch.nn.functional.conv2d(image, weight, bias, stride=stride))
    embedding = image.flatten(1)
    labels = trace.tensor("input__label_onehot_zero_when_hidden", len(image), classes)
    state: Any = {"fast": {"head": trace.tensor("init__hebb", features, classes)[None]}}
    probabilities, fast = [], []
    for feature, label in zip(embedding, labels, strict=True):
        logits, state = agent(torch.cat([feature, label])[None], state)
        probabilities.append(logits[0].softmax(-1))
        fast.append(state["fast"]["head"][0])
    loss = binary_cross_entropy(probabilities[-1], trace.mask("target__onehot", classes))
    loss.backward()
    values = {
        "step__embedding": embedding.detach(),
        "step__softmax_output": torch.stack(probabilities),
        "step__hebb_pre_by_post_after": torch.stack(fast),
        "loss": loss,
    }
    gradients = {f"grad__{name}": _gradient(kernel) for name, kernel in kernels.items()}
    for ours, theirs in names.items():
        gradient = _gradient(agent.get_parameter(ours)).view(trace[f"param__{theirs}"].shape)
        gradients[f"grad__{theirs.removesuffix('_pre_by_post')}"] = gradient
    return values, gradients


def _set(agent: agents.Agent, trace: Trace, names: Mapping[str, str]) -> None:
    """Give our parameters the values of the trace: matrices may lie the other way round, one number has any rank."""
    agent.double()
    with torch.no_grad():
        for ours, theirs in names.items():
            parameter = agent.get_parameter(ours)
            one_number = parameter.numel() == 1 and trace[theirs].size == 1
            value = trace.tensor(theirs, *(trace[theirs].shape if one_number else parameter.shape))
            parameter.copy_(value.mT if theirs.endswith("post_by_pre") else value.reshape(parameter.shape))


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _affine(trace: Trace, name: str, outputs: int, inputs: int) -> Tensor:
    """Weight and bias as the rows of one matrix, inputs × outputs."""
    weight, bias = trace.tensor(f"{name}_weight", outputs, inputs), trace.tensor(f"{name}_bias", outputs)
    return torch.cat([weight.mT, bias[None]])
