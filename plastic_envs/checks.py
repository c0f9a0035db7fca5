"""Checks of arguments: each returns the value, or raises a `UsageError` that says what is allowed."""

import difflib
import math
import os
from collections.abc import Collection, Iterable
from typing import Any, TypeVar

from plastic_envs.errors import UsageError, WrongTypeError

Choice = TypeVar("Choice", bound=str)


def check_int(name: str, value: Any, low: int, high: int | None = None) -> int:
    """An integer from `low` up to `high`, both included."""
    allowed = f"an integer from {low} to {high}" if high is not None else f"an integer of at least {low}"
    if isinstance(value, bool) or not isinstance(value, int):
        raise WrongTypeError(f"{name} must be {allowed}, not {value!r}")
    if value < low or (high is not None and value > high):
        raise UsageError(f"{name} must be {allowed}, not {value!r}")
    return value


def check_float(name: str, value: Any, low: float, high: float = math.inf) -> float:
    """A finite number from `low` up to `high`, both included."""
    allowed = f"a finite number of at least {low}" if high == math.inf else f"a number from {low} to {high}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongTypeError(f"{name} must be {allowed}, not {value!r}")
    if not (math.isfinite(value) and low <= value <= high):
        raise UsageError(f"{name} must be {allowed}, not {value!r}")
    return float(value)


def check_bool(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise WrongTypeError(f"{name} must be true or false, not {value!r}")
    return value


def check_choice(name: str, value: Any, choices: Collection[Choice]) -> Choice:
    """One of the given words."""
    for choice in choices:
        if value == choice:
            return choice
    raise UsageError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The end of a refusal: which of the known names was probably meant, or nothing."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def in_gb(gigabytes: float) -> str:
    """A size in words."""
    return f"{gigabytes:,.0f} GB" if 10 <= gigabytes < 1e9 else f"{gigabytes:.2g} GB"


def check_memory(what: str, gigabytes: float, advice: str) -> None:
    """Refuse what is larger than this machine's memory, before the system ends the process for it."""
    if gigabytes > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9:
        raise UsageError(f"{what}, more memory than this machine has: {advice}")
