"""Plasticity rules by name: a rule is one class in one file and one row here."""

from agents.rules.base import Outer, Rule, Signal, Signals
from plastic_envs.registry import Registry, Row

RULES = Registry(
    "rule",
    {
        "hebbian": Row("agents.rules.hebbian:Hebbian", "pre × post, with learned plasticity per connection (Duan)"),
        "gradient": Row("agents.rules.gradient:Gradient", "gradient of a self-generated loss, one step back (Duan)"),
        "none": Row("agents.rules.none:NoPlasticity", "no plasticity: an ordinary RNN or LSTM"),
        "none-wide": Row(
            "agents.rules.none:NoPlasticity",
            "no plasticity, 1.5 times the hidden units: Duan's control",
            {"width": 1.5},
        ),
    },
)

__all__ = ["RULES", "Outer", "Rule", "Signal", "Signals"]
