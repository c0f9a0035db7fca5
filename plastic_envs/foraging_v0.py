"""`Foraging` by PettingZoo's names: agents act at once, or (`env`) one after the other."""

from typing import Any

from plastic_envs.envs.parallel_env import TaskParallelEnv, checked, turn_based


def parallel_env(render_mode: str | None = None, **options: Any) -> TaskParallelEnv:
    """A world whose agents act at once; the options are those of the task."""
    return TaskParallelEnv("Foraging", render_mode=render_mode, **options)


def raw_env(render_mode: str | None = None, **options: Any) -> Any:
    """The same world as an `AECEnv`."""
    return turn_based(parallel_env(render_mode, **options))


def env(render_mode: str | None = None, **options: Any) -> Any:
    """The same, with a check that calls come in order."""
    return checked(raw_env(render_mode, **options))
