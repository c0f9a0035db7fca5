"""What was learned about plasticity, in readable form: a rule's own coefficients, and each layer's plasticity."""

from collections.abc import Mapping

import torch
from torch import Tensor

from agents import Agent
from agents.networks.fast_network import FastWeightNetwork
from agents.networks.options import PlasticityOptions
from agents.species import Species
from evolution.reports.tables import aligned

FACTORS: Mapping[str, str] = {
    "double-sigmoid": "M = 2σ(m), from 0 to 2",
    "sigmoid": "M = σ(m), from 0 to 1",
    "tanh": "M = tanh(m), from −1 to 1",
    "linear": "M = m",
}
"""What the network's own modulator m becomes, by `PlasticityOptions.modulation`."""


@torch.no_grad()
def describe(agent: Agent) -> str:
    """A rule with its learned coefficients, and on networks with fast weights how they change and how plastic they are.

    Species stand one below the other.
    """
    if isinstance(agent, Species):
        members = [member for member in agent.members if isinstance(member, Agent)]
        return "\n\n".join(f"species {number}\n{describe(member)}" for number, member in enumerate(members))
    name = agent.config["rule"]
    own = agent.rule.describe()
    if not isinstance(agent, FastWeightNetwork):
        return own or f"{name} has no coefficients of its own"
    if not agent.plastic:
        return f"{name}: no plasticity, so the weights stay as they were found"
    return "\n\n".join(filter(None, (f"{name}: {_change(agent)}", own, _layers(agent), _loss_weights(agent))))


def _change(agent: FastWeightNetwork) -> str:
    """How the fast weights F change at a step."""
    options: PlasticityOptions = agent.options
    modulated = options.modulation != "none"
    eta = agent.rule.learning_rate()
    factor = "·M" if modulated else ""
    rate = f"{options.rate:.3g}{factor}" if eta is None else f"η{'' if options.retroactive else factor}"
    if modulated and eta is None and options.rate == 1:
        rate = "M"
    decay = {"none": "", "rate": rate, "network": f"{options.decay:.3g}{factor}"}[agent.rule.decay]
    if agent.rule.decay == "network" and not options.decay:
        decay = ""
    kept = f"(1 − {decay})·F" if decay else "F"
    change = f"F ← {kept} + {rate}·change"
    if options.retroactive:
        change = f"F ← {kept} + M·E, with the trace E ← (1 − {rate})·E + {rate}·change"
    parts = [f"each weight in use is W + Λ·F, and {change}"]
    parts += [f"η = {float(eta):.3g}"] if eta is not None else []
    parts += [f"{FACTORS[options.modulation]}, of the network's own modulator m"] if modulated else []
    return "; ".join(parts)


def _layers(agent: FastWeightNetwork) -> str:
    """A row for each plastic layer: its plasticity Λ beside its slow weights W."""
    head = ["layer", "weights", "Λ mean", "Λ spread", "Λ > 0", "Λ < 0", "size of Λ", "size of W"]
    rows = [head]
    for name, layer in agent.layers().items():
        if (plasticity := layer.plasticity) is None:
            continue
        shared = "" if plasticity.numel() == layer.weight.numel() else " (shared)"
        signs = [f"{100 * float(part.double().mean()):.0f}%" for part in (plasticity > 0, plasticity < 0)]
        mean, size, slow = (_number(values.mean()) for values in (plasticity, plasticity.abs(), layer.weight.abs()))
        spread = _number(plasticity.double().std(correction=0))
        rows.append([name, f"{layer.weight.numel():,}{shared}", mean, spread, *signs, size, slow])
    notes = "Λ: plasticity of each connection; W: slow weights; size: mean of absolute values"
    return "\n".join([*aligned(rows), "", notes]) if len(rows) > 1 else ""


def _loss_weights(agent: FastWeightNetwork) -> str:
    """Of rules that follow the gradient of a loss of their own: what each output weighs in it."""
    weights = getattr(agent, "loss_weight", None)
    if not isinstance(weights, Tensor):
        return ""
    return "weights of the outputs in the network's own loss: " + ", ".join(map(_number, weights))


def _number(value: Tensor) -> str:
    return f"{float(value):.3g}"
