"""Adversarial images: how far must an input be moved until a classifier errs?"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from plastic_envs.utils.checks import check_float, check_int
from plastic_envs.utils.errors import UsageError

ROWS = 1024
"""Inputs that are moved at once, which bounds the memory."""


def targeted_attack(
    logits: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    epsilons: Sequence[float],
    *,
    steps: int = 50,
    step_size: float = 0.1,
) -> Tensor:
    """Which inputs a classifier still gets right when each is moved, within a ball, towards every wrong class in turn.

    Projected gradient descent on the cross-entropy of each wrong class: a step against the gradient, `step_size · ε`
    long, then back into the L2 ball around the input and into [0, 1]. An input counts as broken if any of the results,
    or the input itself, is taken for anything but its label.

    Source: Cristian et al. 2020, "Learning with Plasticity Rules", section 4 and appendix A.3. There the step is a
    multiple of the gradient, not printed which; one of fixed length does not depend on the scale of the logits.

    Args:
        logits: A differentiable function from inputs (N, D) to class scores (N, K).
        images: Inputs (N, D) in [0, 1].
        labels: Their classes (N,).
        epsilons: Radii E of the ball, in the inputs' units.
        steps: Steps of each attack.
        step_size: Length of a step as a fraction of the radius.

    Returns:
        Whether each input survives each radius (E, N).

    Raises:
        UsageError: a radius is negative, or an input lies outside [0, 1].
    """
    steps = check_int("steps", steps, low=1)
    step_size = check_float("step_size", step_size, low=0)
    for epsilon in epsilons:
        check_float("epsilons", epsilon, low=0)
    if not (images.min() >= 0 and images.max() <= 1):  # written so that NaN fails
        raise UsageError(f"images must lie in [0, 1], not in [{images.min():g}, {images.max():g}]")
    with torch.no_grad():
        scores = logits(images)
    survives = (scores.argmax(-1) == labels).expand(len(epsilons), -1).clone()  # (E, N)
    # every radius, wrong class and input at once: the k-th wrong class is the label + k, modulo K
    radius, shift, row = torch.cartesian_prod(
        torch.arange(len(epsilons)), torch.arange(1, scores.shape[-1]), torch.arange(len(images))
    ).unbind(1)  # (E · (K−1) · N,) each
    for start in range(0, len(row), ROWS):
        part = slice(start, start + ROWS)
        which = row[part]
        target = (labels[which] + shift[part]) % scores.shape[-1]
        size = torch.as_tensor(epsilons, dtype=images.dtype)[radius[part], None]
        moved = _descend(logits, images[which], target, size, steps, step_size)
        with torch.no_grad():
            broken = logits(moved).argmax(-1) != labels[which]
        survives[radius[part][broken], which[broken]] = False
    return survives


def _descend(
    logits: Callable[[Tensor], Tensor], start: Tensor, target: Tensor, radius: Tensor, steps: int, step_size: float
) -> Tensor:
    """Move inputs (M, D) towards their target classes (M,), each within its radius (M, 1)."""
    moved = start
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        loss = functional.cross_entropy(logits(moved), target, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, moved)
        length = gradient.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(gradient.dtype).tiny)
        shift = moved.detach() - step_size * radius * gradient / length - start
        shift = shift * (radius / shift.norm(dim=-1, keepdim=True).clamp_min(1e-12)).clamp(max=1)
        moved = (start + shift).clamp(0, 1)  # nearer to the start in every pixel, so still in the ball
    return moved.detach()
