"""The output rule that is best for the squared error, in closed form.

If the outputs learn from every example, on all of their connections, and from weights of zero, then the weights do not
depend on the order of the examples and are linear in the four entries of the rule: linear least squares.

Source: Cristian et al. 2020, "Learning with Plasticity Rules: Generalization and Robustness", sections A.4 and B. (The
authors' program sums its 4×4 matrix in integers, which spoils real-valued activities; here nothing is truncated.)
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from plastic_envs.utils.checks import check_float, check_int
from plastic_envs.utils.errors import UsageError

BLOCK = 1 << 22
"""Activities that are turned to double precision at once, which bounds the memory."""
RANK = 1e-10
"""Singular values below this share of the largest are rounding errors of zeros."""


class BestRule(NamedTuple):
    """The best rule and what it comes to, in double precision, for each network of the leading dimensions.

    Attributes:
        rule: (..., 2, 2), rows for units that did not fire and that did, columns for the true class and all others: the
            `output_table` of the rule "firing-output,output=fired,when=always,edges=all".
        weights: The output weights (..., V, K) that it gives.
        loss: (...), the squared error of the outputs against one-hot labels, the mean over examples and classes.
    """

    rule: Tensor
    weights: Tensor
    loss: Tensor


def best_output_rule(activity: Tensor, labels: Tensor, n_classes: int, rate: float = 0.01) -> BestRule:
    """Find the rule that makes the outputs, activity @ weights, come nearest to the one-hot labels.

    Where several rules are equally good, as with equally many examples of each class, it is that of the least norm.

    Args:
        activity: Of the V units before the outputs, for N examples (..., N, V); units above 0 have fired.
        labels: Integers below K (..., N).
        n_classes: K.
        rate: The step size η of the rule.

    Raises:
        UsageError: an activity is negative or not finite, or shapes, labels or rate do not fit.
    """
    _check(activity, labels, n_classes, rate)
    onehot = one_hot(labels, n_classes).double()
    changes = rate * learned_by_entry(activity, onehot)  # (..., V, 4, K)
    by_entry = outputs_of(activity, changes.flatten(-2))  # (..., N, 4 · K)
    design = by_entry.view(*labels.shape, 4, n_classes).mT.flatten(-3, -2)  # (..., N · K, 4)
    wanted = onehot.flatten(-2).unsqueeze(-1)  # (..., N · K, 1)
    directions, triangular = torch.linalg.qr(design)
    entries = torch.linalg.pinv(triangular, rtol=RANK) @ (directions.mT @ wanted)  # (..., 4, 1)
    loss = (design @ entries - wanted).square().mean((-2, -1))
    weights = (changes * entries.unsqueeze(-3)).sum(-2)
    return BestRule(entries.view(*entries.shape[:-2], 2, 2), weights, loss)


def learned_by_entry(activity: Tensor, onehot: Tensor) -> Tensor:
    """The weights that each entry of the rule alone would make, if it were 1 and the rate too.

    Args:
        activity: (..., N, V).
        onehot: Labels (..., N, K).

    Returns:
        (..., V, 4, K): how often a unit did not fire, or fired, while the class was the true one, or another.
    """
    examples = onehot.sum(-2, keepdim=True)  # (..., 1, K)
    fired = torch.zeros_like(activity[..., 0, :, None] * examples, dtype=onehot.dtype)  # (..., V, K)
    first = 0
    for block in _blocks(activity):
        part = onehot[..., first : first + block.shape[-2], :]
        fired += (block > 0).to(onehot.dtype).mT @ part
        first += block.shape[-2]
    silent = examples - fired
    by_class = [silent, silent.sum(-1, keepdim=True) - silent, fired, fired.sum(-1, keepdim=True) - fired]
    return torch.stack(by_class, -2)


def outputs_of(activity: Tensor, weights: Tensor) -> Tensor:
    """The outputs (..., N, K) of activities (..., N, V) by weights (..., V, K), in double precision."""
    return torch.cat([block @ weights for block in _blocks(activity)], -2)


def accuracy(activity: Tensor, weights: Tensor, labels: Tensor) -> Tensor:
    """The share (...) of examples (..., N, V) whose label (..., N) has the largest output by weights (..., V, K)."""
    return (outputs_of(activity, weights).argmax(-1) == labels).double().mean(-1)


def _blocks(activity: Tensor) -> Iterator[Tensor]:
    """Examples, some at a time, in double precision (..., n, V)."""
    per_example = max(1, activity[..., 0, :].numel())
    for block in torch.split(activity, max(1, BLOCK // per_example), -2):
        yield block.double()


def _check(activity: Tensor, labels: Tensor, n_classes: int, rate: float) -> None:
    n_classes = check_int("n_classes", n_classes, low=1)
    rate = check_float("rate", rate, low=0)
    if activity.dim() < 2 or not activity.numel() or labels.shape != activity.shape[:-1]:
        raise UsageError(
            f"activity must have the shape (..., N, V), without an empty dimension, and labels (..., N), not "
            f"{tuple(activity.shape)} and {tuple(labels.shape)}"
        )
    if labels.is_floating_point() or labels.min() < 0 or labels.max() >= n_classes:
        raise UsageError(f"labels must be integers from 0 to {n_classes - 1}, by n_classes={n_classes}")
    if not (activity.min() >= 0 and activity.max() < torch.inf):  # written so that NaN fails
        raise UsageError("activity must be finite and not negative, as after a rectifier")
