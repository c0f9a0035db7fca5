"""What the names beside a score stand for, in one sentence each, to be printed where they are."""

import inspect
from collections.abc import Iterable, Mapping

from plastic_envs.core.supervised import SupervisedTask
from plastic_envs.core.task import Task

EXPLANATIONS = {
    "chance": "what knowing nothing of the episode comes to",
    "random": "draws every action evenly, whatever it sees",
    "zero": "answers 0 at every step",
    "zeros": "answers 0 at every step",
    "echo": "repeats the reward that it is shown, and answers 0 where none is: no memory at all",
    "shrunken mean": "answers with the best multiple of the mean reward shown so far: the best there is without "
    "remembering which cue came with which reward",
    "ideal observer": "sees what agents see and answers with the reward of the nearest cue that was shown: a perfect "
    "memory",
    "ridge": "fits a ridge regression to the examples that the episode shows",
    "majority class": "answers with the class that most of the examples shown are of",
    "nearest class mean": "answers with the class whose examples have the nearest mean",
    "nearest neighbour": "answers with the label of the most similar image shown, pixel by pixel",
    "copying what is shown": "answers with the half that it is asked with, and 0 for the rest",
    "mean of the patterns": "fills what is missing with the mean of all patterns shown, as if it could not tell which "
    "is asked for",
    "mean of the images shown": "answers with the mean of all images shown, as if it could not tell which is asked for",
    "nearest image shown": "answers with the image whose given half is the most similar: a perfect memory",
    "fixed": "goes for the same kinds of food in every life, whatever they mean there: it never learns",
    "defect": "never cooperates",
    "tit-for-tat": "cooperates unless a neighbour has just defected",
    "oracle": "answers or acts as well as the task allows, mostly by being told what agents have to find out; measured "
    "on these very episodes",
    "best possible": "the mean over all possible episodes that no agent can pass, calculated rather than "
    "measured: on the episodes at hand the oracle may come out a little beside it",
}
"""By the names of the package's predictors and policies; for others see `explain`."""


def explained(name: str, score: str) -> str:
    """A reference with its score, and what it is where that is known: `"zero 0.333: answers 0 at every step"`."""
    told = EXPLANATIONS.get(name)
    return f"{name} {score}: {told}" if told else f"{name} {score}"


def explain(task: Task, names: Iterable[str]) -> dict[str, str]:
    """A sentence on each of the names that is known; one's own predictors and policies are by their docstrings."""
    own = _measured(task)
    told = {name: EXPLANATIONS.get(name) or _said(own.get(name)) for name in names}
    return {name: text for name, text in told.items() if text}


def explain_all(task: Task) -> dict[str, str]:
    """A sentence on everything that the task's results stand beside."""
    chance, best = getattr(task, "chance", None), getattr(task, "best", None)
    known = {"chance": chance, **_measured(task), "best possible": best}
    return explain(task, [name for name, value in known.items() if value is not None and value == value])


def _measured(task: Task) -> Mapping[str, object]:
    """The predictors or policies by name."""
    if not isinstance(task, SupervisedTask):
        return task.policies
    return dict(task.references) | ({"oracle": task.oracle} if task.oracle is not None else {})


def _said(found: object) -> str:
    """The first sentence of a function's docstring, without its full stop; empty if there is none."""
    text = (inspect.getdoc(found) or "") if callable(found) else ""
    return " ".join(text.partition("\n\n")[0].split()).partition(". ")[0].removesuffix(".")
