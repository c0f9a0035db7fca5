"""Meta-learning tasks as Gymnasium environments."""

from plastic_envs.errors import MissingExtraError, UsageError
from plastic_envs.supervised import SupervisedTask
from plastic_envs.task import Episode, Slice, Step, Task, layout
from plastic_envs.tasks import TASKS, make_task

__all__ = [
    "TASKS",
    "Episode",
    "MissingExtraError",
    "Slice",
    "Step",
    "SupervisedTask",
    "Task",
    "UsageError",
    "layout",
    "make_task",
]
