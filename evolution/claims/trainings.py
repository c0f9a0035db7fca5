"""Agents that claims train, what came of them, and where that is kept."""

import json
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import agents
from agents import Agent
from evolution.checkpoint import write_atomically, writing
from evolution.seeding import derive_seed
from plastic_envs.errors import UsageError
from plastic_envs.task import Task

FORMAT = 1

Make = Callable[[int], Agent]
"""From a seed to a new agent."""


@dataclass(frozen=True)
class Learner:
    """A kind of agent, and what it is trained by.

    Attributes:
        make: Makes it from a seed.
        searcher: Spec of its searcher.
    """

    make: Make
    searcher: str


@dataclass(frozen=True)
class Curve:
    """One run: the held-out metric after so many episodes; the first row is of the agent as it was made.

    A run that diverged keeps not-a-number from there on.
    """

    episodes: tuple[int, ...]
    metric: tuple[float, ...]
    seconds: float  # of processor time, evaluations left out
    parameters: int  # how many were searched
    agent: Agent

    @property
    def final(self) -> float:
        """The metric at the end of the budget."""
        return self.metric[-1]

    def first_beyond(self, bound: float, *, higher: bool) -> int | None:
        """The episodes after which the metric was first better than a bound; None if it never was."""
        for n, value in zip(self.episodes, self.metric, strict=True):
            if value > bound if higher else value < bound:
                return n
        return None


@dataclass(frozen=True)
class Training:
    """One agent to be trained.

    Attributes:
        name: What it is called, another one for each kind of agent and task of a claim.
        learner: What is trained, and by what.
        task: What it learns.
        budget: Episodes.
        seed: Root of all its random streams.
        evals: Evaluations over the budget.
        eval_episodes: Held-out episodes of each.
    """

    name: str
    learner: Learner
    task: Task
    budget: int
    seed: int
    evals: int
    eval_episodes: int

    def __str__(self) -> str:
        return f"{self.name}, seed {self.seed}"

    def agent(self) -> Agent:
        """The agent as it is before."""
        return self.learner.make(derive_seed(self.seed, "agent"))

    def describe(self) -> dict[str, Any]:
        """What its curve depends on, beside the task, as JSON."""
        return {
            "training": str(self),
            "task": type(self.task).__name__,
            "searcher": self.learner.searcher,
            "budget": self.budget,
            "evals": self.evals,
            "eval_episodes": self.eval_episodes,
            "agent": self.agent().config,
        }


class KeptCurves:
    """Trainings that are finished, a folder each with the trained agent as `agents.load` reads it.

    Args:
        folder: Where the folders are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, training: Training) -> Curve | None:
        """What came of a training; None if it is not kept.

        Raises:
            UsageError: the files are damaged, or of a training of this name that was another.
        """
        folder = self._folder(training)
        if not folder.exists():
            return None
        agent = training.agent()
        names = [value for value in agent.config.values() if isinstance(value, str)]
        try:
            kept = json.loads((folder / "curve.json").read_text())
            if kept["format"] != FORMAT or kept["training"] != json.loads(json.dumps(training.describe())):
                raise UsageError(
                    f"{folder} is of another version of the claim: overwrite the claim, or take another folder"
                )
            metric = tuple(math.nan if value is None else float(value) for value in kept["metric"])
            trained = agents.load(folder, trust=names).requires_grad_(False).eval()
            return Curve(tuple(kept["episodes"]), metric, kept["seconds"], kept["parameters"], trained)
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError(f"{folder / 'curve.json'} is damaged: {type(error).__name__}: {error}") from None

    def save(self, training: Training, curve: Curve) -> None:
        """Keep what came of a training."""
        folder = self._folder(training)
        if folder.exists():
            raise UsageError(
                f"two trainings of a claim are both called {str(training)!r}: give them names of their own"
            )
        beginning = folder.with_name(folder.name + ".tmp")
        kept = {
            "format": FORMAT,
            "training": training.describe(),
            "episodes": curve.episodes,
            "metric": [None if math.isnan(value) else value for value in curve.metric],
            "seconds": curve.seconds,
            "parameters": curve.parameters,
        }
        with writing(folder):
            shutil.rmtree(beginning, ignore_errors=True)
            agents.save(curve.agent, beginning)
        write_atomically(beginning / "curve.json", (json.dumps(kept, indent=2, ensure_ascii=False) + "\n").encode())
        with writing(folder):
            beginning.rename(folder)

    def _folder(self, training: Training) -> Path:
        return self.folder / re.sub(r"[^a-z0-9]+", "-", str(training).lower()).strip("-")
