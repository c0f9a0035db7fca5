"""Refusals of what is no task, or gives no steps: a user's class may be anything."""

from collections.abc import Callable, Mapping
from typing import Any, get_args

import torch
from torch import Tensor

from plastic_envs.core.task import Metric, Step, Task, Trajectory, real
from plastic_envs.external.task import ExternalTask
from plastic_envs.utils.checks import check_choice
from plastic_envs.utils.errors import UsageError, WrongTypeError
from plastic_envs.utils.finite import check_finite
from plastic_envs.utils.limits import check_episodes, sizes_checked

USUAL = 1e9
"""Smaller outputs cannot make any sum of squares overflow."""


def check_task(task: object) -> Task:
    """The task, if it is one.

    Raises:
        UsageError: it is something else, such as a task's name, or lacks what every task sets.
    """
    if not isinstance(task, Task):
        raise WrongTypeError(f"task must be a plastic_envs.Task, not {task!r}: make_task makes one from its name")
    if missing := _missing(task):
        raise UsageError(f"{type(task).__name__} must set {', '.join(missing)} in __init__: see plastic_envs.Task")
    for name, allowed in (("action_kind", ("box", "discrete")), ("metric_kind", get_args(Metric))):
        check_choice(f"{type(task).__name__}.{name}", getattr(task, name), allowed)
    for name, what in (("policies", "policies"), ("references", "predictors")):
        known = getattr(task, name, {})
        if not isinstance(known, Mapping) or not all(map(callable, known.values())):
            raise WrongTypeError(f"{type(task).__name__}.{name} must be a dict from names to {what}, not {known!r}")
    return task


def _missing(task: Task) -> list[str]:
    needed = ("horizon", "slices", "output_size", "action_kind", "metric_kind")
    return [name for name in needed if not hasattr(task, name)]


def is_whole(task: Task) -> bool:
    """Whether a task has set all that its sizes are known by."""
    return not _missing(task) and isinstance(task.horizon, int) and bool(task.slices)


def reset_checked(
    task: Task, batch_size: int, generator: torch.Generator, floats: torch.dtype = torch.float32
) -> tuple[Any, Tensor]:
    """A task's state and first observation (B, D), or (P, B, D) where individuals begin apart, of the type `floats`.

    Raises:
        UsageError: `Task.reset` gives something else, or what is not finite, or draws from torch's global generator.
            Environments of Gymnasium may do that: they are given seeds, by which they may seed it.
    """
    name = f"{type(task).__name__}.reset"
    outside = isinstance(task, ExternalTask)
    check_episodes(task, batch_size)
    given = task.reset(batch_size, generator) if outside else drawn(task, "reset", batch_size, generator)
    if not isinstance(given, tuple) or len(given) != 2:
        raise WrongTypeError(f"{name} must return a state and the first observation, not {type(given).__name__}")
    wanted = (batch_size, task.observation_size)
    found = tuple(given[1].shape) if isinstance(given[1], Tensor) else type(given[1]).__name__
    if found[-2:] != wanted:
        raise UsageError(f"{name} must give the observation as a tensor {wanted}, not {found}")
    if given[1].dtype != floats:
        raise WrongTypeError(f"{name} must give the observation as {floats}, not {given[1].dtype}")
    check_finite(f"{name} must give finite observations", given[1], ("individual", "episode")[3 - given[1].dim() :])
    return given


def living(values: Tensor, active: Tensor) -> Tensor:
    """Values (..., B, D) with 0 for episodes that have ended: what a task gives for these means nothing."""
    return values.where(active.unsqueeze(-1), 0.0)


def check_trajectory(task: Task, trajectory: Trajectory, observed: Tensor, outputs: Tensor) -> None:
    """Refuse what a closed-loop task gave that is not finite where it counts, as long as no agent has diverged.

    Not of environments of Gymnasium, which pay NaN for an episode that cannot go on.

    Args:
        task: The task.
        trajectory: What the steps came to (..., T, B).
        observed: The number of each observation, after each step, that lies farthest from 0 (..., T, B).
        outputs: What agents answered (..., T, B, K). From the step on in which the square of one is not finite, all
            that follows may be its doing.

    Raises:
        UsageError: an observation, a reward or a metric is not finite.
    """
    parts = {
        "observations": observed,
        "rewards": trajectory.reward,
        "metrics where metric_mask is set": trajectory.metric,
    }
    if isinstance(task, ExternalTask) or all(part.sum().isfinite() for part in parts.values()):
        return
    sound = outputs.detach().square().movedim(-3, 0).flatten(1).isfinite().all(1)  # (T,)
    counts = sound.cumprod(0).bool().unsqueeze(-1)
    for what, part in parts.items():
        dims = ("individual", "step", "episode")[-part.dim() :]
        check_finite(f"{type(task).__name__}.step must give finite {what}", part, dims, counts.expand_as(part))


def check_measure(task: Task, name: str, values: object, outputs: Tensor) -> Tensor:
    """What a task's `loss`, `metric` or `score` gave for each episode, if it is that: it may be a user's own.

    Args:
        task: The task.
        name: The method's.
        values: What it gave.
        outputs: For what: (..., T, B, K). Where one of them is not finite or huge, so may be all that comes of it.

    Raises:
        UsageError: it has another shape than (..., B), is complex, or is not finite.
    """
    name = f"{type(task).__name__}.{name}"
    wanted = (*outputs.shape[:-3], outputs.shape[-2])
    of_all = isinstance(values, Tensor) and tuple(values.shape) == wanted[-1:]  # the same for all individuals
    if not isinstance(values, Tensor) or not (of_all or tuple(values.shape) == wanted) or values.is_complex():
        found = f"{values.dtype} {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise UsageError(f"{name} must give a real number for each episode, a tensor {wanted}, not {found}")
    values = real(values).expand(wanted)
    # environments of Gymnasium pay NaN for an episode that cannot go on
    if not isinstance(task, ExternalTask) and not values.sum().isfinite() and bool((outputs.abs() < USUAL).all()):
        check_finite(f"{name} must be finite where outputs are", values, ("individual", "episode")[-values.dim() :])
    return values


def check_outcome(task: Task, step: Step, action: Tensor, rows: Tensor) -> None:
    """Refuse a step of an environment that is not finite where it counts; not one of Gymnasium: see `check_trajectory`.

    Args:
        task: The task.
        step: Of a batch (B,).
        action: (B,) or (B, K). Where the square of one is not finite, what comes of it is its doing.
        rows: Which episodes had not ended before (B,), bool.

    Raises:
        UsageError: an observation, a reward or a metric is not finite.
    """
    if isinstance(task, ExternalTask):
        return
    sound = rows & action.view(len(rows), -1).float().square().isfinite().all(1)
    for what, part, counts in (
        ("observations", step.observation, sound & ~step.terminated),
        ("rewards", step.reward, sound),
        ("metrics where metric_mask is set", step.metric, sound & step.metric_mask),
    ):
        check_finite(f"{type(task).__name__}.step must give finite {what}", part, ("episode",), counts)


def draw_sized(task: Task, function: str, batch_size: int, generator: torch.Generator) -> Any:
    """What a task's `reset` or `sample` draws for a batch; the first of its size with a look at what it makes.

    Raises:
        UsageError: it needs more memory than there is.
    """
    draw: Callable[[int, torch.Generator], Any] = getattr(task, function)
    known = vars(task).get("_drawn_at_once", 0)
    if batch_size <= known:
        return draw(batch_size, generator)
    with sizes_checked(f"{type(task).__name__}.{function} of {batch_size:,} at once"):
        given = draw(batch_size, generator)
    vars(task)["_drawn_at_once"] = batch_size
    return given


def drawn(task: Task, function: str, batch_size: int, generator: torch.Generator) -> Any:
    """What a user's `reset` or `sample` draws for a batch.

    Raises:
        UsageError: it draws from torch's global generator, so that the same seed would give something else; or it needs
            more memory than there is.
    """
    name = f"{type(task).__name__}.{function}"
    before = torch.get_rng_state()
    given = draw_sized(task, function, batch_size, generator)
    if generator is not torch.default_generator and not torch.equal(before, torch.get_rng_state()):
        raise UsageError(f"{name} must draw from the generator it is given, not from torch's own, so that seeds hold")
    return given


def check_step(task: Task, step: object, batch_shape: tuple[int, ...], floats: torch.dtype = torch.float32) -> None:
    """Refuse what is no step of a batch: a user's task may return anything.

    Args:
        task: Whose step it is.
        step: What `Task.step` gave.
        batch_shape: (B,), or (P, B) for a population's actions.
        floats: The type of observations.

    Raises:
        UsageError: it is no `Step`, or a part of it is of another shape or type.
    """
    name = f"{type(task).__name__}.step"
    if not isinstance(step, Step):
        raise WrongTypeError(f"{name} must return a plastic_envs.Step, not {type(step).__name__}")
    for part in ("observation", "reward", "terminated", "metric", "metric_mask"):
        tail = (task.observation_size,) if part == "observation" else ()
        allowed = {
            (*batch_shape, *tail),
            (*batch_shape[-1:], *tail),
        }  # the latter if it is the same for all individuals
        value = getattr(step, part)
        if not isinstance(value, Tensor) or tuple(value.shape) not in allowed:
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise UsageError(f"{name} must give {part} as a tensor {(*batch_shape, *tail)}, not {found}")
        must = {"terminated": torch.bool, "metric_mask": torch.bool, "observation": floats}.get(part)
        if must is not None and value.dtype != must:
            raise WrongTypeError(f"{name} must give {part} as {must}, not {value.dtype}")
        if value.is_complex():
            raise WrongTypeError(f"{name} must give {part} as real numbers, not {value.dtype}")
