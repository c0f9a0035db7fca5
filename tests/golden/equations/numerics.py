"""What the programs' equations are made of in plain NumPy, and their derivatives.

Derivatives are taken by a complex step, f'(x) = Im f(x + ih) / h with h = 1e-30, which has no rounding error of a
difference; what is a constant to the programs' gradients (who fires, who is limited) looks at real parts alone.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

STEP = 1e-30
Arrays = dict[str, Any]


def gradients(loss: Callable[[Arrays], Any], parameters: Arrays, names: Iterable[str]) -> Arrays:
    """The derivatives of the loss with respect to some of the parameters."""
    found = {}
    for name in names:
        value = np.asarray(parameters[name], dtype=float)
        slope = np.zeros(value.shape)
        for index in np.ndindex(value.shape):
            moved = value.astype(complex)
            moved[index] += STEP * 1j
            slope[index] = np.imag(loss(parameters | {name: moved})) / STEP
        found[name] = slope
    return found


def stacked(steps: list[Arrays], prefix: str = "step__") -> Arrays:
    """The arrays of all steps, along a new first axis."""
    return {prefix + name: np.stack([step[name] for step in steps]) for name in steps[0]}


def named(prefix: str, arrays: Arrays) -> Arrays:
    """The arrays with a prefix to their names."""
    return {prefix + name: value for name, value in arrays.items()}


def relu(x: Any) -> Any:
    """max(x, 0)."""
    return np.where(np.real(x) > 0, x, 0)


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(−x))."""
    return 1 / (1 + np.exp(-x))


def softmax(x: Any) -> Any:
    """Over the last axis."""
    e = np.exp(x - np.real(x).max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def clamp(x: Any, low: Any, high: Any) -> Any:
    """x within limits; outside of them a constant."""
    return np.where((np.real(x) > low) & (np.real(x) < high), x, np.clip(np.real(x), low, high))


def cross_entropy(logits: Any, label: Any) -> Any:
    """The mean over examples."""
    return -np.log(softmax(logits))[np.arange(len(label)), label].mean()


def outer(a: Any, b: Any) -> Any:
    """Of each sample."""
    return a[:, :, None] * b[:, None, :]


def times(a: Any, matrix: Any) -> Any:
    """A vector and a matrix for each sample."""
    return (a[:, :, None] * matrix).sum(1)
