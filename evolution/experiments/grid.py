"""A grid of runs as data: tasks × rules × networks × searchers × seeds, at one budget."""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agents.factory import current_network
from evolution.runs.settings import NETWORK
from plastic_envs.utils.checks import plain
from plastic_envs.utils.errors import UsageError
from plastic_envs.utils.limits import in_time

MOST_RUNS = 20_000
"""Of a comparison: what its index can hold, which is read and written whole."""


@dataclass(frozen=True)
class Grid:
    """Tasks × rules × networks × searchers × seeds, each as a spec string `"name,key=value"`; all else is held equal.

    Arguments:
        budget: episodes presented to agents, in every run.
        eval_episodes: held-out episodes of an evaluation; the same ones in all runs of a task.
        evals: evaluations over the budget.
        networks: kinds of networks to hold beside each other, with options as in "plastic-rnn,hidden=100"; empty for
            one kind, which `network`, `cell` and `hidden` describe.
        searched: name patterns of the parameters that are searched.

    Raises:
        UsageError: nothing is named, or something twice.
    """

    tasks: tuple[str, ...]
    rules: tuple[str, ...]
    searchers: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    budget: int = 64_000
    network: str | None = None
    cell: str | None = None
    hidden: int | None = None
    eval_episodes: int = 1000
    evals: int = 20
    searched: tuple[str, ...] = ("*",)
    networks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in ("tasks", "rules", "searchers", "seeds", "searched", "networks"):
            values = tuple(map(plain, getattr(self, field)))  # lists, as read from JSON, are welcome
            values = tuple(map(current_network, values)) if field == "networks" else values
            object.__setattr__(self, field, values)
            if not values and field != "networks":
                raise UsageError(f"{field} is empty: name at least one")
            counted = Counter(values)
            repeated = next((value for value in values if counted[value] > 1), None)
            if repeated is not None:
                raise UsageError(f"{field} names {repeated!r} twice: each is run once")
        if self.networks and (one := self._one_network):
            name, value = next(iter(one.items()))
            raise UsageError(f"networks and {name}={value!r} exclude each other: {_within(self.networks, name, value)}")

    @property
    def n_runs(self) -> int:
        """How many runs there are."""
        return len(self.tasks) * len(self.rules) * len(self.network_settings) * len(self.searchers) * len(self.seeds)

    @property
    def _one_network(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in NETWORK if getattr(self, name) is not None}

    @property
    def network_settings(self) -> list[dict[str, Any]]:
        """What is given of each network."""
        return [{"network": spec} for spec in self.networks] or [self._one_network]

    def cells(self) -> Iterator[tuple[str, str, dict[str, Any], str]]:
        """Every task, rule, network and searcher, in the order in which results are listed."""
        return itertools.product(self.tasks, self.rules, self.network_settings, self.searchers)


def _within(networks: Sequence[str], name: str, value: Any) -> str:
    """How to say of several networks what was said beside them."""
    if name == "network":
        return f"name it among the networks: {' '.join([*networks, value])}"
    told = (spec if f",{name}=" in spec else f"{spec},{name}={value}" for spec in networks)
    return f"say it of each network: {' '.join(told)}"


def check_runs(number: int, what: str) -> None:
    """Refuse more runs than anyone can wait for, before there is a list of them.

    Raises:
        UsageError: there are more than `MOST_RUNS`.
    """
    if number > MOST_RUNS:
        raise UsageError(
            f"{what}: {number:,} runs of some seconds each take {in_time(5.0 * number)} at the least; at most "
            f"{MOST_RUNS:,} are planned"
        )


def run_folder(task: str, rule: str, searcher: str, seed: int, network: str | None = None) -> str:
    """A run's folder below that of its comparison; specs keep their words, other characters become `_`.

    The network is part of it where several are compared.
    """
    parts = (re.sub(r"[^\w.,=+-]", "_", spec) for spec in (task, rule, network, searcher) if spec is not None)
    return "/".join(["runs", *parts, f"seed{seed}"])


def seeds_from(text: str) -> tuple[int, ...]:
    """Read `"5"` as the seeds 0 to 4, and `"0,3,7"` as themselves.

    Raises:
        UsageError: neither a positive count nor a list of non-negative whole numbers.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or text.strip() == "0":
        raise UsageError(f"--seeds {text!r}: give a count of at least 1, or a list such as 0,1,2")
    numbers = tuple(int(part) for part in parts if len(part) < 20)
    if len(numbers) < len(parts):
        raise UsageError(f"--seeds {text[:60]!r}: seeds are below 2^63")
    if len(numbers) > 1:
        return numbers
    check_runs(numbers[0], f"--seeds {text}")
    return tuple(range(numbers[0]))


def specs_from(values: Iterable[str]) -> tuple[str, ...]:
    """Spec strings from the command line, where `SequenceReproduction,delay=5` is one and `hebbian,none` is two.

    A part with `=` is an option of the name before it; a comma may have nothing behind it, as in `hebbian, none`.
    """
    specs: list[str] = []
    for value in values:
        first = True
        for part in value.split(","):
            if not part.strip():
                continue
            if first or "=" not in part:
                specs.append(part.strip())
            else:
                specs[-1] += f",{part}"
            first = False
    return tuple(specs)
