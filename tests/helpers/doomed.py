"""Searchers that fail in every way, and a task that pays reward only: what a comparison must outlive."""

import os
import signal

from evolution import Diverged
from evolution.searchers.backprop import Backprop
from plastic_envs.utils.errors import UsageError
from tests.helpers.user_code import RunningMean


class Failing(Backprop):
    """Raises an exception that nobody foresaw."""

    def step(self):
        raise RuntimeError("the roof\nfell in")


class Killed(Backprop):
    """Dies as when memory runs out."""

    def step(self):
        os.kill(os.getpid(), signal.SIGKILL)


class Diverging(Backprop):
    """Is no longer finite after its first step."""

    def step(self):
        if self.episodes:
            raise Diverged("loss nan")
        return super().step()


class RewardOnly(RunningMean):
    """Has no targets to differentiate."""

    has_targets = False


class Choosy(Backprop):
    """Refuses only in its first step."""

    def step(self):
        raise UsageError("not this task")
