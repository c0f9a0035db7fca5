"""Agents that claims train, what came of them, and where that is kept."""

import json
import math
import pickle
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import agents
from agents import Agent
from agents.saving import digest, settings_saved
from evolution.seeding import derive_seed
from plastic_envs.core.task import Task
from plastic_envs.utils.errors import UsageError
from plastic_envs.utils.reading import read_json
from plastic_envs.utils.registry import own_code
from plastic_envs.utils.writing import sync_folder, write_atomically, writing

FORMAT = 1
LONGEST_NAME = 100
"""Letters of a folder's name; file systems take 255 bytes."""

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

    def evaluations(self) -> tuple[int, ...]:
        """The episodes after which it is evaluated."""
        return tuple(self.budget * number // self.evals for number in range(self.evals + 1))

    def __str__(self) -> str:
        return f"{self.name}, seed {self.seed}"

    def agent(self) -> Agent:
        """The agent as it is before."""
        return self.learner.make(derive_seed(self.seed, "agent"))

    def describe(self) -> dict[str, Any]:
        """What its curve depends on, as JSON."""
        return {
            "training": str(self),
            "task": {"class": type(self.task).__name__, **_plain(self.task)},
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
        folder = self.place(training)
        if not folder.exists():
            return None
        asked = _as_read(training.describe())
        members = asked["agent"].get("species", [asked["agent"]])
        texts = [value for member in members for value in member.values() if isinstance(value, str)]
        trained = agents.load(folder, trust=[name for text in texts for name in own_code(text)])
        kept = read_json(folder / "curve.json")
        written = settings_saved(folder)  # version 0.1 may have called the agent's network by another name
        same = kept.get("training") == asked | {"agent": written} and _as_read(trained.config) == asked["agent"]
        if kept.get("format") != FORMAT or not same:
            raise UsageError(f"{folder} is of a claim that was another then: overwrite it, or take another folder")
        episodes, metric = training.evaluations(), kept.get("metric")
        sizes: list[Any] = [kept.get("seconds"), kept.get("parameters")]
        values = [math.nan if value is None else value for value in (metric if isinstance(metric, list) else ())]
        if len(values) != len(episodes) or not all(map(_is_number, [*sizes, *values])):
            raise UsageError(f"{folder / 'curve.json'} is damaged: it holds no numbers for {len(episodes)} evaluations")
        if kept.get("weights", "") not in ("", digest(trained, written)):  # earlier versions kept no hash
            raise UsageError(f"{folder / 'agent.safetensors'} is not the agent that curve.json tells of")
        trained = trained.requires_grad_(False).eval()
        return Curve(episodes, tuple(map(float, values)), float(sizes[0]), int(sizes[1]), trained)

    def save(self, training: Training, curve: Curve) -> None:
        """Keep what came of a training."""
        folder = self.place(training)
        beginning = folder.with_name(folder.name + ".tmp")
        kept = {
            "format": FORMAT,
            "training": training.describe(),
            "episodes": curve.episodes,
            "metric": [None if math.isnan(value) else value for value in curve.metric],
            "seconds": curve.seconds,
            "parameters": curve.parameters,
            "weights": digest(curve.agent),
        }
        with writing(folder):
            shutil.rmtree(beginning, ignore_errors=True)
        agents.save(curve.agent, beginning)
        write_atomically(beginning / "curve.json", (json.dumps(kept, indent=2, ensure_ascii=False) + "\n").encode())
        with writing(folder):
            beginning.rename(folder)
            sync_folder(self.folder)

    def forget(self, folder: Path) -> None:
        """Delete what is kept of a training, in one moment."""
        beginning = folder.with_name(folder.name.removesuffix(".tmp") + ".tmp")
        with writing(folder):
            if folder != beginning:
                shutil.rmtree(beginning, ignore_errors=True)
                folder.rename(beginning)
            shutil.rmtree(beginning)

    def place(self, training: Training) -> Path:
        """The folder of a training."""
        return self.folder / re.sub(r"\W+", "-", str(training).lower()).strip("-")[-LONGEST_NAME:]


def check_apart(trainings: Sequence[Training], jobs: int) -> None:
    """Refuse trainings that could not be kept apart, or not be sent to other processes.

    Raises:
        UsageError: two have one name, up to what is no letter or digit; or `make` is no function that can be pickled.
    """
    kept, names = KeptCurves(Path()), dict[Path, str]()
    for training in trainings:
        place, name = kept.place(training), str(training)
        if place in names:
            raise UsageError(
                f"trainings {names[place]!r} and {name!r} of a claim would be kept in one folder: rename one"
            )
        names[place] = name
    try:
        if jobs > 1:
            pickle.dumps(trainings)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(
            f"jobs={jobs} sends learners to other processes: make each a function of a module, or a functools.partial "
            f"of one ({error})"
        ) from None


def _as_read(values: dict[str, Any]) -> Any:
    """As it is read back from a file: lists for tuples."""
    return json.loads(json.dumps(values))


def _plain(task: Task) -> dict[str, Any]:
    """A task's attributes that are numbers, words or truth values: options and sizes, not what it found out later."""
    return {
        name: value
        for name, value in vars(task).items()
        if isinstance(value, int | float | str)
        and not name.startswith("_")  # what was noted while it was used
        and not isinstance(getattr(type(task), name, None), cached_property)
    }


def _is_number(value: Any) -> bool:
    """Whether it is one that floats can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and not abs(value) > sys.float_info.max
