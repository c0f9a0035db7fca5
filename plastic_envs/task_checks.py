"""Refusals of what is no task, or gives no steps: a user's class may be anything."""

from collections.abc import Callable, Mapping
from typing import Any, get_args

import torch
from torch import Tensor

from plastic_envs.checks import check_choice
from plastic_envs.errors import UsageError, WrongTypeError
from plastic_envs.external import ExternalTask
from plastic_envs.task import Metric, Step, Task


def check_task(task: object) -> Task:
    """The task, if it is one.

    Raises:
        UsageError: it is something else, such as a task's name, or lacks what every task sets.
    """
    if not isinstance(task, Task):
        raise WrongTypeError(f"task must be a plastic_envs.Task, not {task!r}: make_task makes one from its name")
    needed = ("horizon", "slices", "output_size", "action_kind", "metric_kind")
    if missing := [name for name in needed if not hasattr(task, name)]:
        raise UsageError(f"{type(task).__name__} must set {', '.join(missing)} in __init__: see plastic_envs.Task")
    for name, allowed in (("action_kind", ("box", "discrete")), ("metric_kind", get_args(Metric))):
        check_choice(f"{type(task).__name__}.{name}", getattr(task, name), allowed)
    if not isinstance(task.policies, Mapping):
        raise WrongTypeError(
            f"{type(task).__name__}.policies must be a dict from names to policies, not {task.policies!r}"
        )
    return task


def reset_checked(task: Task, batch_size: int, generator: torch.Generator) -> tuple[Any, Tensor]:
    """A task's state and first observation (B, D), or (P, B, D) where individuals begin apart.

    Raises:
        UsageError: `Task.reset` gives something else, or draws from torch's global generator. Environments of Gymnasium
            may do that: they are given seeds, by which they may seed it.
    """
    name = f"{type(task).__name__}.reset"
    outside = isinstance(task, ExternalTask)
    given = task.reset(batch_size, generator) if outside else drawn(name, task.reset, batch_size, generator)
    if not isinstance(given, tuple) or len(given) != 2:
        raise WrongTypeError(f"{name} must return a state and the first observation, not {type(given).__name__}")
    wanted = (batch_size, task.observation_size)
    found = tuple(given[1].shape) if isinstance(given[1], Tensor) else type(given[1]).__name__
    if found[-2:] != wanted:
        raise UsageError(f"{name} must give the observation as a tensor {wanted}, not {found}")
    return given


def drawn(name: str, draw: Callable[[int, torch.Generator], Any], batch_size: int, generator: torch.Generator) -> Any:
    """What a user's function draws for a batch.

    Raises:
        UsageError: it draws from torch's global generator, so that the same seed would give something else.
    """
    before = torch.get_rng_state()
    given = draw(batch_size, generator)
    if generator is not torch.default_generator and not torch.equal(before, torch.get_rng_state()):
        raise UsageError(f"{name} must draw from the generator it is given, not from torch's own, so that seeds hold")
    return given


def check_step(task: Task, step: object, batch_shape: tuple[int, ...]) -> None:
    """Refuse what is no step of a batch: a user's task may return anything.

    Args:
        task: Whose step it is.
        step: What `Task.step` gave.
        batch_shape: (B,), or (P, B) for a population's actions.

    Raises:
        UsageError: it is no `Step`, or a part of it is of another shape.
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
        if part in ("terminated", "metric_mask") and value.dtype != torch.bool:
            raise WrongTypeError(f"{name} must give {part} as torch.bool, not {value.dtype}")
