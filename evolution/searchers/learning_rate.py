"""Step sizes that fall over a search."""

import math

from plastic_envs.utils.checks import check_choice, check_float
from plastic_envs.utils.errors import UsageError

SCHEDULES = ("cosine", "linear")


class LearningRate:
    """A learning rate that stays, or falls to 0 over a budget of episodes; a function of the ledger alone.

    Args:
        rate: At the start.
        schedule: None to stay, "cosine" or "linear".
        budget: Episodes of the whole search.

    Raises:
        UsageError: the rate is negative, there is no such schedule, or none of the budget it needs.
    """

    def __init__(self, rate: float, schedule: str | None, budget: int | None) -> None:
        self.rate = check_float("learning_rate", rate, low=0)
        self._schedule = None if schedule is None else check_choice("schedule", schedule, SCHEDULES)
        self._budget = budget
        if schedule is not None and budget is None:
            raise UsageError(f"schedule {schedule!r} needs the budget it runs over")

    def at(self, episodes: int) -> float:
        """What it is when so many episodes have been used."""
        if self._schedule is None or self._budget is None:
            return self.rate
        done = min(1.0, episodes / self._budget)
        return self.rate * ((1 + math.cos(math.pi * done)) / 2 if self._schedule == "cosine" else 1 - done)
