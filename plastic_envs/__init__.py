"""Meta-learning tasks as Gymnasium environments.

Importing this package registers `plastic_envs/<Task>-v0` for every row of `TASKS`; without the import,
`gymnasium.make("plastic_envs:plastic_envs/<Task>-v0")` does the same.
"""

import os
import sys

if (
    sys.argv[:1] == ["-m"]
    and "plastic_envs" in sys.orig_argv
    and not sys.flags.safe_path
    and os.path.abspath(sys.path[0]) != os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
):
    # `python -m plastic_envs` puts the working directory first: what lies there must not stand for what is installed
    del sys.path[0]

import gymnasium

from plastic_envs.core.policies import play
from plastic_envs.core.supervised import SupervisedTask
from plastic_envs.core.task import Episode, Slice, Step, Task, Trajectory, layout
from plastic_envs.core.world_task import WorldTask
from plastic_envs.envs.env import TaskEnv
from plastic_envs.envs.vector_env import TaskVectorEnv
from plastic_envs.external.task import ExternalTask
from plastic_envs.tasks import TASKS, make_task
from plastic_envs.utils.errors import MissingExtraError, UsageError
from plastic_envs.worlds import WORLDS

__all__ = [
    "TASKS",
    "WORLDS",
    "Episode",
    "ExternalTask",
    "MissingExtraError",
    "Slice",
    "Step",
    "SupervisedTask",
    "Task",
    "TaskEnv",
    "TaskVectorEnv",
    "Trajectory",
    "UsageError",
    "WorldTask",
    "layout",
    "make_task",
    "play",
]

for _name in (*TASKS, *WORLDS):
    gymnasium.register(
        id=f"plastic_envs/{_name}-v0",
        entry_point="plastic_envs:TaskEnv",
        vector_entry_point="plastic_envs:TaskVectorEnv",
        kwargs={"task": "OneAgent", "world": _name} if _name in WORLDS else {"task": _name},
    )
