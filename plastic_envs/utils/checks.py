"""Checks of arguments: each returns the value, or raises a `UsageError` that says what is allowed."""

import contextlib
import difflib
import math
import os
import re
import sys
from collections.abc import Collection, Iterable
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from plastic_envs.utils.errors import UsageError, WrongTypeError

resource: ModuleType | None
try:
    import resource
except ModuleNotFoundError:  # on Windows
    resource = None

UNLIMITED: ContextVar[bool] = ContextVar("UNLIMITED", default=False)
"""Whether what is made takes no memory, see `plastic_envs.utils.limits.nowhere`."""

LARGEST = 2**63 - 1
"""No size is larger: what tensors can count to."""

Choice = TypeVar("Choice", bound=str)

_WHOLE = re.compile(r"(-?(?:0|[1-9]\d*(?:_\d+)*))(?:[eE]\+?(\d{1,2}))?", re.ASCII)
NEAR = 0.72
"""How alike two names must be for one to be a slip for the other: `lsmt` and `lstm` are by 0.75, `horizon` and `poison`
by 0.62."""
MOST_NAMES = 12
"""Of those to choose from that a refusal lists."""
MOST_DIGITS = 400
"""Of a whole number that is read from a text: Python reads no more than some thousands."""
MOST_SHOWN = 80
"""Characters of a wrong value that a refusal repeats."""


def plain(value: Any) -> Any:
    """A number of numpy's as Python's own, which JSON can hold; anything else as it is."""
    is_scalar = isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0)
    return value.item() if is_scalar else value


def whole_number(text: str) -> int | None:
    """The whole number that a text stands for, as in 100000, 100_000 or 1e5; None if it is none.

    What has a point or more than a float's 53 bits by an exponent, as 1.0 or 1e99, is none.
    """
    match = _WHOLE.fullmatch(text)
    if match is None:
        return None
    number, exponent = match.groups()
    if len(number) > MOST_DIGITS:
        return None
    if exponent is None:
        return int(number)
    power = int(exponent)
    return int(number) * 10**power if power <= 18 and abs(int(number)) * 10**power <= 2**53 else None


def check_int(name: str, value: Any, low: int, high: int | None = None) -> int:
    """An integer from `low` up to `high`, both included; numpy's become Python's."""
    value = plain(value)
    allowed = f"an integer from {low} to {high}" if high is not None else f"an integer of at least {low}"
    if isinstance(value, bool) or not isinstance(value, int):
        raise WrongTypeError(f"{name} must be {allowed}, not {shown(value)}")
    if value < low or (high is not None and value > high):
        raise UsageError(f"{name} must be {allowed}, not {shown(value)}")
    if value > LARGEST:
        raise UsageError(f"{name} must be {allowed}, and of no more than 64 bits, not {shown(value)}")
    return value


def check_float(name: str, value: Any, low: float, high: float = math.inf) -> float:
    """A finite number from `low` up to `high`, both included; numpy's become Python's."""
    value = plain(value)
    allowed = f"a finite number of at least {low}" if high == math.inf else f"a number from {low} to {high}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongTypeError(f"{name} must be {allowed}, not {shown(value)}")
    if not (abs(value) <= sys.float_info.max and low <= value <= high):
        raise UsageError(f"{name} must be {allowed}, not {shown(value)}")
    return float(value)


def check_bool(name: str, value: Any) -> bool:
    """True or False."""
    value = plain(value)
    if not isinstance(value, bool):
        raise WrongTypeError(f"{name} must be true or false, not {shown(value)}")
    return value


def check_choice(name: str, value: Any, choices: Collection[Choice]) -> Choice:
    """One of the given words."""
    for choice in choices:
        if isinstance(value, str) and value == choice:
            return choice
    allowed = f"must be one of {', '.join(choices)}"
    if isinstance(value, str) and (near := nearest(value, choices)) is not None:
        raise UsageError(f"{name} {shown(value)}: did you mean {near!r}? (it {allowed})")
    raise UsageError(f"{name} {allowed}, not {shown(value)}")


def shown(value: object) -> str:
    """A wrong value in one short line."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # an integer of more digits than Python writes
        return f"a {type(value).__name__} of thousands of digits"
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 1]}…"


def choose(name: str, names: Iterable[str], also: str = "") -> str:
    """How the refusal of a name ends: the one that was probably meant, then those there are and what `also` may be."""
    names = list(names)
    few, more = names[:MOST_NAMES], len(names) - MOST_NAMES
    listed = "choose from " + ", ".join([*few, *([f"… ({len(names)} in all)"] if more > 0 else [])]) + also
    if not names:
        listed = f"there are none{also}"
    near = nearest(name, names)
    return listed if near is None else f"did you mean {near!r}? ({listed})"


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The known name that was probably meant; None where it would be a guess."""
    known = {each.casefold(): each for each in reversed(list(names))}
    given = name.casefold()
    close = difflib.get_close_matches(given, known, n=1, cutoff=NEAR)
    swapped = [each for each in known if sorted(each) == sorted(given)]  # in a short name too much to look near
    found = [given] * (given in known) or swapped or close
    return known[found[0]] if found else None


def in_gb(gigabytes: float) -> str:
    """A size in words."""
    return f"{gigabytes:,.0f} GB" if 10 <= gigabytes < 1e9 else f"{gigabytes:.2g} GB"


def check_memory(what: str, gigabytes: float, advice: str) -> None:
    """Refuse what is larger than the memory that this process may have, before the system ends it for that."""
    if gigabytes > memory_bytes() / 1e9:
        raise UsageError(f"{what}, more memory than this machine has: {advice}")


def memory_bytes() -> int:
    """Memory that this process may have: the machine's, or less by a control group's or the process's own limit."""
    return sys.maxsize if UNLIMITED.get() else min(_memory_of_machine(), _memory_of_process())


@lru_cache(maxsize=1)
def _memory_of_machine() -> int:
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with contextlib.suppress(OSError):
        group = Path("/proc/self/cgroup").read_text().strip().rpartition(":")[2].strip("/")
        root = Path("/sys/fs/cgroup")
        for folder in (root / group, *(root / group).parents):
            for name in ("memory.max", "memory/memory.limit_in_bytes"):
                with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
                    found.append(int((folder / name).read_text()))
            if folder == root:
                break
    return min(found)


def _memory_of_process() -> int:
    """What `ulimit -v` leaves it."""
    if resource is None:
        return sys.maxsize
    limit: int = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    try:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        taken = 0
    return max(0, limit - taken)
