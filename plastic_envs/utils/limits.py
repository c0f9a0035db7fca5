"""Sizes are looked at before memory is taken: what is asked for against what this machine has."""

import contextlib
import math
import re
from collections.abc import Generator, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from plastic_envs.utils.checks import UNLIMITED, check_memory, in_gb, memory_bytes
from plastic_envs.utils.errors import UsageError

LONGEST = 10**7
"""Steps of an episode: one of so many lasts minutes at the least, as a step takes 10 microseconds or more."""


@contextlib.contextmanager
def sizes_checked(what: str) -> Generator[None]:
    """Have every tensor that is made out of nothing meanwhile checked before it is made.

    Args:
        what: begins the refusal, "hidden=1000000".

    Raises:
        UsageError: there is not so much memory.
    """
    try:
        with contextlib.nullcontext() if UNLIMITED.get() else _Sizes(what):
            yield
    except MemoryError as error:
        raise UsageError(f"{what} takes more memory than there is{_numpy_words(error)}: take less") from None
    except RuntimeError as error:
        if "allocate memory" not in str(error):
            raise
        size = next((int(word) for word in str(error).split() if word.isdecimal() and len(word) > 6), 0)
        words = f": {in_gb(size / 1e9)} at once" if size else ""
        raise UsageError(f"{what} takes more memory than there is{words}: take less") from None


def _numpy_words(error: MemoryError) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return f" ({text})" if text else ""


class _Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees each operation; without it torch would import its compiler to keep that away, which takes a second."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class _Sizes(_Mode):  # type: ignore[no-untyped-call]
    """Looks at what makes tensors out of nothing: zeros, random numbers, ranges."""

    def __init__(self, what: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.what, self.limit = what, memory_bytes()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Refuse or do it."""
        if _out_of_nothing(args) and (size := _bytes(func, args, kwargs or {})) > self.limit:
            has = in_gb(self.limit / 1e9)
            raise UsageError(f"{self.what} takes {in_gb(size / 1e9)} or more, and this machine has {has}: take less")
        return func(*args, **(kwargs or {}))


def _out_of_nothing(args: Any) -> bool:
    """Whether there is no tensor among the arguments."""
    parts = (part for arg in args for part in (arg if isinstance(arg, list | tuple) else (arg,)))
    return not any(isinstance(part, torch.Tensor) for part in parts)


def _bytes(func: Any, args: Any, kwargs: Any) -> float:
    """Of the tensor that an operation on numbers alone will give: its shape is the list among them, or their range."""
    shape = next((arg for arg in args if isinstance(arg, list | tuple)), ())
    numbers = [number for number in args if isinstance(number, int | float)]
    name = func.overloadpacket.__name__
    if name in ("eye", "randperm"):
        shape = numbers * 2 if name == "eye" and len(numbers) == 1 else numbers
    elif name == "arange":
        start, end, step = [0, *numbers, 1] if len(numbers) == 1 else [*numbers, 1][:3]
        shape = [abs((end - start) / step)]
    if not all(isinstance(side, int | float) for side in shape):
        return 0
    dtype = kwargs.get("dtype") or torch.get_default_dtype()
    return float(math.prod(max(0, side) for side in shape) * dtype.itemsize)


class _Nowhere(_Mode):  # type: ignore[no-untyped-call]
    """Makes tensors that have a shape and no memory."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The same on no device: nothing is drawn there."""
        kwargs = dict(kwargs or {})
        if kwargs.pop("generator", None) is not None and func._overloadname.startswith("generator"):
            func = getattr(func.overloadpacket, "default", func)
        if _out_of_nothing(args):
            kwargs["device"] = torch.device("meta")
        return func(*args, **kwargs)


@contextlib.contextmanager
def nowhere() -> Generator[None]:
    """While this lasts, tensors have a shape but no memory, so that modules of any size can be made and counted."""
    token = UNLIMITED.set(True)
    try:
        with _Nowhere():  # type: ignore[no-untyped-call]
            yield
    finally:
        UNLIMITED.reset(token)


def check_episodes(task: Any, batch_size: int, what: str | None = None) -> None:
    """Refuse so many episodes at once of a task, or episodes of such a length, before they are drawn.

    Args:
        task: a `Task`.
        batch_size: B, episodes at once.
        what: begins the refusal; by default the number and the task's name.

    Raises:
        UsageError: they would take more memory or time than there is.
    """
    steps, many = task.horizon, f"{batch_size:,} at once of {type(task).__name__}"
    if not task.drawn_beforehand:  # it is lived step by step, by copies of an environment, to an end that may come soon
        check_memory(f"{what or many}: copies take {in_gb(2e-5 * batch_size)}", 2e-5 * batch_size, "take fewer at once")
        return
    if steps > LONGEST:
        raise UsageError(
            f"{what or many}: an episode of {steps:,} steps lasts {in_time(1e-5 * steps)} at the least; at most "
            f"{LONGEST:,} steps are allowed"
        )
    width = task.observation_size + task.output_size
    taken = 8e-9 * batch_size * (width * (steps if task.has_targets else 1) + steps)
    if taken > 0.01:  # a look at the machine is spared
        words = (
            f"{steps:,} steps of {width:,} numbers in {'an episode' if batch_size == 1 else f'{batch_size:,} episodes'}"
        )
        check_memory(f"{what or many}: {words} take {in_gb(taken)}", taken, "take less")


def largest(options: Mapping[str, Any]) -> str:
    """The option that is most probably too large, as ",name=value"; nothing if there is none."""
    sizes = {name: size for name, value in options.items() if (size := _size(value)) > 0}
    name = max(sizes, key=sizes.__getitem__, default=None)
    return "" if name is None else f",{name}={str(options[name])[:60]}"


def _size(value: Any) -> int:
    """The largest whole number in an option's value: in itself, a list, or text such as "128-64"."""
    if isinstance(value, bool):
        return 0
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        return max((int(word) for word in re.findall(r"[0-9]{1,30}", value)), default=0)
    return max(map(_size, value), default=0) if isinstance(value, list | tuple) else 0


def in_time(seconds: float) -> str:
    """A time in words."""
    for name, unit in (("years", 3.15e7), ("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.0f} {name}" if seconds < 1e9 * unit else f"{seconds / unit:.1g} {name}"
    return f"{seconds:.0f} seconds"
