"""Plasticity rules by name: a rule is one class in one file and one row here."""

from agents.rules.base import Bound, LowRank, RankOne, Rule, Signal, Signals, Trace
from plastic_envs.utils.registry import Registry, Row

RULES = Registry(
    "rule",
    {
        "hebbian": Row("agents.rules.hebbian:Hebbian", "pre × post, with learned plasticity per connection (Duan)"),
        "gradient": Row("agents.rules.gradient:Gradient", "gradient of a self-generated loss, one step back (Duan)"),
        "decaying-hebb": Row("agents.rules.trace:DecayingHebb", "pre × post in a trace that decays (Miconi)"),
        "oja": Row("agents.rules.trace:Oja", "pre × post, less post² × the trace (Miconi)"),
        "additive-hebb": Row(
            "agents.rules.trace:AdditiveHebb", "pre × post in a trace with hard, soft or no bounds (Miconi)"
        ),
        "pool": Row(
            "agents.rules.pool:Pool", "ten error-driven and Hebbian terms with learned coefficients (Rosenbaum)"
        ),
        "pseudo-gradient": Row(
            "agents.rules.pool:Pool",
            "feedback alignment; with the network's feedback=symmetric, backpropagation",
            {"terms": 1},
        ),
        "abcd": Row("agents.rules.abcd:ABCD", "a polynomial in pre and post for each connection (Najarro)"),
        "firing-table": Row(
            "agents.rules.firing:FiringTable", "rates by a table of firing codes, for graph and outputs (Cristian 2020)"
        ),
        "firing-network": Row(
            "agents.rules.firing:FiringNetwork", "rates by a small network on firing codes, and an output table"
        ),
        "firing-output": Row(
            "agents.rules.firing:FiringOutput", "rates by a table of firing codes for the outputs only"
        ),
        "none": Row("agents.rules.none:NoPlasticity", "no plasticity: an ordinary RNN or LSTM"),
        "none-wide": Row(
            "agents.rules.none:NoPlasticity",
            "no plasticity, 1.5 times the hidden units: Duan's control",
            {"width": 1.5},
        ),
    },
)

__all__ = ["RULES", "Bound", "LowRank", "RankOne", "Rule", "Signal", "Signals", "Trace"]
