"""Agents whose weights change while they live: networks, plasticity rules, and the loop they live in."""

from agents.agent import Agent, State
from agents.factory import incompatibility, make, make_for, transfer_rule
from agents.networks import NETWORKS
from agents.networks.cells import CELLS
from agents.networks.front_ends import FRONT_ENDS
from agents.rollouts.rollout import Rollout, rollout
from agents.rules import RULES, Bound, LowRank, RankOne, Rule, Signals, Trace
from agents.saving import load, save
from agents.species import Species

__all__ = [
    "CELLS",
    "FRONT_ENDS",
    "NETWORKS",
    "RULES",
    "Agent",
    "Bound",
    "LowRank",
    "RankOne",
    "Rollout",
    "Rule",
    "Signals",
    "Species",
    "State",
    "Trace",
    "incompatibility",
    "load",
    "make",
    "make_for",
    "rollout",
    "save",
    "transfer_rule",
]
