"""Everything that decides the numbers of a run, as JSON."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import agents
from agents import Agent
from agents.factory import current_network
from evolution.runs.progress import counted
from plastic_envs.core.task import Task
from plastic_envs.utils.checks import check_int, choose, plain, shown
from plastic_envs.utils.errors import UnknownOptionError, WrongTypeError

NETWORK = ("network", "cell", "hidden")
"""Settings of the network that may stay open."""
OPEN: Mapping[str, None] = dict.fromkeys(NETWORK)


@dataclass(frozen=True)
class RunSettings:
    """Settings of one run; two runs with equal settings give equal numbers.

    Args:
        task: name and options of a task, "SequenceReproduction,seq_length=5,delay=0".
        rule: name and options of a plasticity rule.
        network: name and options of a network; None for the one that the rule runs on.
        cell: name of a recurrent cell; None for the network's own.
        hidden: number of hidden units; None for the network's own.
        searcher: name and options of a searcher.
        budget: episodes the search may present; the last step may go beyond it.
        seed: root of all random streams of the search.
        eval_episodes: held-out episodes of each evaluation.
        evals: number of evaluations spread evenly over the budget, besides the one before the first step.
        searched: name patterns of the parameters to search.
        agent_options: further keyword arguments of `agents.make`.
        threads: torch threads; another number may give other last digits.

    Raises:
        UsageError: a value has the wrong type or is out of range.
    """

    task: str
    rule: str = "hebbian"
    network: str | None = None
    cell: str | None = None
    hidden: int | None = None
    searcher: str = "backprop"
    budget: int = 64_000
    seed: int = 0
    eval_episodes: int = 1000
    evals: int = 20
    searched: tuple[str, ...] = ("*",)
    agent_options: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 1

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            object.__setattr__(self, item.name, plain(getattr(self, item.name)))
        for name in ("task", "rule", "searcher", "network", "cell"):
            value = getattr(self, name)
            if (value is not None or name not in NETWORK) and (not isinstance(value, str) or not value):
                raise WrongTypeError(f"{name} must be a name, not {value!r}")
        if self.network is not None:
            object.__setattr__(self, "network", current_network(self.network))
        if self.hidden is not None:
            check_int("hidden", self.hidden, low=1)
        for name in ("budget", "eval_episodes", "evals"):
            check_int(name, getattr(self, name), low=1)
        check_int("threads", self.threads, low=1, high=1024)
        check_int("seed", self.seed, low=0)
        searched: Any = self.searched
        if not (isinstance(searched, list | tuple) and all(isinstance(pattern, str) for pattern in searched)):
            raise WrongTypeError(f"searched must be a list of name patterns, not {searched!r}")
        object.__setattr__(self, "searched", tuple(searched))
        options: Any = self.agent_options
        if not isinstance(options, Mapping):
            raise WrongTypeError(f"agent_options must be a mapping of names to values, not {options!r}")

    @property
    def network_settings(self) -> dict[str, Any]:
        """Those settings of the network that are given."""
        return {name: getattr(self, name) for name in NETWORK if getattr(self, name) is not None}

    @property
    def title(self) -> str:
        """What is run, in words."""
        network = f" on {self.network}" if self.network is not None else ""
        return f"{self.task}, {self.rule}{network} by {self.searcher}"

    def make_agent(self, task: Task, seed: int = 0) -> Agent:
        """The agent these settings ask for, for a task."""
        return agents.make_for(task, rule=self.rule, seed=seed, **self.network_settings, **self.agent_options)

    def to_json(self) -> dict[str, Any]:
        """As JSON values; `from_json` is the inverse."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "RunSettings":
        """From what `to_json` gave.

        Raises:
            UsageError: a setting is unknown or missing, or has a wrong type.
        """
        known = {item.name for item in dataclasses.fields(cls)}
        if unknown := values.keys() - known:
            first = min(unknown)
            raise UnknownOptionError(f"unknown setting {shown(first)}: {choose(first, sorted(known))}", first)
        if "task" not in values:
            raise WrongTypeError("the setting 'task' is missing")
        return cls(**values)

    def difference(self, other: "RunSettings") -> str | None:
        """The first setting in which two runs differ, "seed=0, not seed=1" (this one's value first); None if equal."""
        mine, its = self.to_json(), other.to_json()
        for name in mine:
            if mine[name] != its[name]:
                return f"{name}={mine[name]!r}, not {name}={its[name]!r}"
        return None


def describe_network(network: str | None, cell: str | None, hidden: int | None) -> str:
    """A network's settings in words, "rnn with 128 units"; what is open is left to the rule."""
    named = " ".join(name for name in (network, cell) if name) or "the rule's network"
    return f"{named} with {counted(hidden, 'unit')}" if hidden is not None else named
