"""Gradient descent for many starts at once, until it is level."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

MEMORY = 10
"""A step is taken if it leads below the largest of so many last losses,"""
SLOPE = 1e-4
"""by this share of what the gradient promises."""
LEVEL = 1e-6
"""The norm of the gradient, if below this for every descent, ends all of them."""


class Descended(NamedTuple):
    """Where each of P descents ended.

    Attributes:
        points: (P, ...).
        losses: (P,).
        course: The losses after each trial (trials, P).
    """

    points: Tensor
    losses: Tensor
    course: Tensor


def descend(loss: Callable[[Tensor], Tensor], starts: Tensor, trials: int, step: float = 1e-3) -> Descended:
    """Go down the gradient of P losses (P,) from P starts (P, ...), each with its own steps.

    The size of a step comes from the last two gradients, and a step that leads too high is tried again at a quarter of
    its size: M. Raydan 1997, "The Barzilai and Borwein gradient method for the large scale unconstrained minimization
    problem".

    Args:
        loss: from points (P, ...) to their losses, each of its own point only.
        starts: in double precision.
        trials: evaluations of the loss and its gradient, at most.
        step: first step size.
    """
    shape = (-1, *[1] * (starts.dim() - 1))

    def evaluate(points: Tensor) -> tuple[Tensor, Tensor]:
        points = points.detach().requires_grad_()
        values = loss(points)
        (gradient,) = torch.autograd.grad(values.sum(), points)
        return values.detach(), gradient

    points = starts.detach().clone()
    values, gradients = evaluate(points)
    steps = torch.full_like(values, step)
    course = [values]
    while len(course) < trials and (gradients.flatten(1).norm(dim=1) >= LEVEL).any():
        tried = points - steps.view(shape) * gradients
        tried_values, tried_gradients = evaluate(tried)
        squares = gradients.flatten(1).square().sum(1)
        taken = tried_values <= torch.stack(course[-MEMORY:]).amax(0) - SLOPE * steps * squares
        moved, turned = (tried - points).flatten(1), (tried_gradients - gradients).flatten(1)
        along = (moved * turned).sum(1)
        longer = torch.where(along > 0, moved.square().sum(1) / along, 4 * steps)
        steps = torch.where(taken, longer, steps / 4)
        points = torch.where(taken.view(shape), tried, points)
        values = torch.where(taken, tried_values, values)
        gradients = torch.where(taken.view(shape), tried_gradients, gradients)
        course.append(values)
    return Descended(points, values, torch.stack(course))
