"""The arrays of one trace: every one looked at before it is used, and none left unread."""

import io
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from plastic_envs.data.archives import read_zip
from plastic_envs.utils.checks import check_bool, check_choice, check_float, check_int, nearest, plain, shown
from plastic_envs.utils.errors import FileUsageError, UnknownNameError, UsageError

MOST_BYTES = 1 << 26
"""Of all arrays of a trace together."""
MOST_UNITS = 10_000
"""Or examples, steps and the like: traces are of tiny networks."""
MAY_BE_NAN = ("_nan_means_none", "_nan_if_singular")
"""How the names of arrays end that may hold NaN."""
Value = TypeVar("Value")


class Trace(Mapping[str, np.ndarray]):
    """Arrays by name, which are found wanting in one sentence, and know which of them were read.

    Raises:
        UsageError: an array is missing, or is not of the type, shape or values that are asked for.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = dict(arrays)
        self.read: set[str] = set()
        for name, array in self._arrays.items():
            unknown = array.dtype.kind == "f" and not np.isfinite(array).all()
            if unknown and not (name.endswith(MAY_BE_NAN) and not np.isinf(array).any()):
                raise UsageError(f"{name} holds numbers that are not finite")

    @classmethod
    def load(cls, path: Path) -> "Trace":
        """The trace in a file of numpy's; nothing in it is run."""
        return cls({name.removesuffix(".npy"): _array(name, data) for name, data in _members(path)})

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            near = nearest(name, self._arrays)
            raise UnknownNameError(f"there is no {name}" + (f", but {near}" if near else ""))
        self.read.add(name)
        return self._arrays[name]

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def integer(self, name: str, low: int = 1, high: int = MOST_UNITS) -> int:
        """One integer."""
        return check_int(name, self[name], low, high)

    def number(self, name: str, low: float = 0.0) -> float:
        """One finite number."""
        self._check_precision(name)
        return check_float(name, self[name], low)

    def limit(self, name: str) -> float | None:
        """One number, or None where it is NaN."""
        value = plain(self[name])
        return None if isinstance(value, float) and np.isnan(value) else self.number(name)

    def flag(self, name: str) -> bool:
        """True or False."""
        return check_bool(name, self[name])

    def choice(self, name: str, choices: Mapping[str, Value]) -> Value:
        """What a word stands for."""
        return choices[check_choice(name, plain(self[name]), choices)]

    def words(self, name: str, choices: Collection[str] | None = None) -> list[str]:
        """A list of different words, of these only."""
        found = self[name]
        if found.ndim != 1 or found.dtype.kind != "U":
            raise UsageError(f"{name} must be a list of words, not {shown(found.tolist())}")
        words: list[str] = found.tolist()
        for word in words:
            if choices is not None:
                check_choice(name, word, choices)
        if len(set(words)) < len(words):
            raise UsageError(f"{name} names a thing twice: {', '.join(words)}")
        return words

    def sizes(self, name: str, least: int) -> list[int]:
        """At least so many sizes."""
        found = self[name]
        if found.ndim != 1 or len(found) < least:
            raise UsageError(f"{name} must be a list of at least {least} integers, not {shown(found.tolist())}")
        return [check_int(name, size, 1, MOST_UNITS) for size in found]

    def tensor(self, name: str, *shape: int | None) -> Tensor:
        """Numbers of double precision in this shape, where None is any size above 0."""
        found = self[name]
        if found.dtype.kind != "f":
            raise UsageError(f"{name} must hold numbers of float64, not {found.dtype}")
        self._check_precision(name)
        self._check_shape(name, shape)
        return torch.from_numpy(found.astype(np.float64))

    def integers(self, name: str, *shape: int | None, below: int) -> Tensor:
        """Integers from 0 that are smaller than `below`, in this shape."""
        found = self[name]
        self._check_shape(name, shape)
        if found.dtype.kind not in "iu" or found.min() < 0 or found.max() >= below:
            raise UsageError(f"{name} must hold integers from 0 to {below - 1}")
        return torch.from_numpy(found.astype(np.int64))

    def mask(self, name: str, *shape: int | None) -> Tensor:
        """Numbers of which each is 0 or 1."""
        found = self.tensor(name, *shape)
        if not ((found == 0) | (found == 1)).all():
            raise UsageError(f"{name} must hold 0 and 1 only")
        return found

    def compared(self, name: str, ours: Tensor) -> Tensor:
        """What our array of that name must come to."""
        found = self[name]
        if found.dtype.kind not in "biuf":
            raise UsageError(f"{name} must hold numbers, not {found.dtype}")
        self._check_precision(name)
        self._check_shape(name, tuple(ours.shape))
        return torch.from_numpy(found.astype(np.float64))

    def _check_precision(self, name: str) -> None:
        found = self[name].dtype
        if found.kind == "f" and found.itemsize != 8:
            raise UsageError(f"{name} must hold numbers of float64, not {found}")

    def _check_shape(self, name: str, shape: tuple[int | None, ...]) -> None:
        found = self[name].shape
        if len(found) != len(shape) or any(n == 0 or n != (m or n) for n, m in zip(found, shape, strict=True)):
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise UsageError(f"{name} must have the shape ({wanted}), not {found}")


def refuse_unless(holds: Any, sentence: str) -> None:
    """Refuse a trace whose arrays contradict each other."""
    if not holds:
        raise UsageError(sentence)


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        yield from read_zip(path, ".npy", MOST_BYTES, MOST_BYTES)
    except FileUsageError as error:
        raise UsageError(str(error).replace(str(path), "the file")) from None


def _array(name: str, data: bytes) -> np.ndarray:
    """An array, whose size is known before memory is taken."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        if dtype.hasobject or dtype.kind not in "biufU":
            raise ValueError(f"it holds {dtype}, neither numbers nor words")
        if np.prod(shape, dtype=object) * dtype.itemsize > len(data):
            raise ValueError(f"it says that its shape is {shape}, and ends before that")
        return np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # numpy raises whatever a damaged header leads it to
        raise UsageError(f"{name} cannot be read: {str(error)[:200] or type(error).__name__}") from None
