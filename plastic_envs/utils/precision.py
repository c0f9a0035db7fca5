"""Single precision, whatever torch's default dtype is."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def in_float32(function: Callable[P, R]) -> Callable[P, R]:
    """The function, called with float32 as torch's default dtype.

    Code that names no dtype, a user's own too, so gives the same numbers whatever `torch.set_default_dtype` was told.
    The default is that of the whole process: while such a function runs, other threads see float32 too.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        default = torch.get_default_dtype()
        if default == torch.float32:
            return function(*args, **kwargs)
        torch.set_default_dtype(torch.float32)
        try:
            return function(*args, **kwargs)
        finally:
            torch.set_default_dtype(default)

    return call


def methods_in_float32(cls: type, *names: str) -> None:
    """Let those methods of these names that a class itself defines be called `in_float32`."""
    for name in names:
        if name in vars(cls):
            setattr(cls, name, in_float32(vars(cls)[name]))
