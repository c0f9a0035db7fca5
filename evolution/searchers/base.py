"""What every searcher is: it presents episodes to agents, counts them, and can stop and go on."""

import copy
import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, ClassVar, ParamSpec, TypeVar

import torch

from agents import Agent
from agents.normalisation import RunningMeanStd
from plastic_envs.core.task import Task
from plastic_envs.core.task_checks import check_task
from plastic_envs.utils.checks import choose, shown
from plastic_envs.utils.errors import UnknownOptionError, UsageError
from plastic_envs.utils.precision import methods_in_float32

P = ParamSpec("P")
R = TypeVar("R")


class Diverged(ArithmeticError):
    """Loss or parameters stopped being finite; the searcher still holds its last good parameters."""


@dataclass
class Ledger:
    """What a search has cost so far: the budget is counted in episodes presented to agents.

    An individual of a population that sees 16 episodes costs 16.
    """

    episodes: int = 0
    env_steps: int = 0

    def count(self, episodes: int, *, env_steps: int) -> None:
        """Add episodes, and the steps that they lasted together."""
        self.episodes += episodes
        self.env_steps += env_steps


class Searcher(ABC):
    """Finds meta-parameters for an agent on a task.

    Args:
        task: what the agent shall learn to do within an episode.
        agent: where the search starts; it is copied, never changed.
        seed: root seed of the search's own random streams.
        searched: name patterns (`fnmatch`) of the parameters to search; all others keep their initial values.
        budget: episodes the whole search may present, for searchers with a schedule.

    A subclass writes `step`, `agent`, `state_dict` and `load_state_dict`, and finds here

    Attributes:
        task: as given.
        seed: as given; `make_generator(seed, stream)` makes a stream of its own for each name.
        budget: as given.
        searched: the names of the parameters to search, of `agent.named_parameters()`.
        _agent: the copy of the agent.
        ledger: what was presented so far: every step must count its episodes, `ledger.count(episodes, env_steps=…)`.
        needs_targets: whether reward alone is not enough; a comparison shows the searcher as skipped on tasks without
            targets.

    Raises:
        UsageError: no parameter matches a pattern, or the task has not what the searcher needs.
    """

    needs_targets: ClassVar[bool] = False

    def __init__(
        self,
        task: Task,
        agent: Agent,
        *,
        seed: int = 0,
        searched: Sequence[str] = ("*",),
        budget: int | None = None,
    ) -> None:
        check_task(task)
        if self.needs_targets and not task.has_targets:
            raise UsageError(
                f"{type(self).__name__} needs a task with targets: {type(task).__name__} pays reward only, for "
                "evolution, a2c and ppo"
            )
        self.task = task
        self.seed = seed
        self.budget = budget
        self.ledger = Ledger()
        self._agent = copy.deepcopy(agent).eval()
        self.searched = searched_names(agent, searched)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        methods_in_float32(cls, "__init__", "step", "agent", "load_state_dict")

    @property
    def episodes(self) -> int:
        """Episodes presented to agents so far."""
        return self.ledger.episodes

    @property
    def env_steps(self) -> int:
        """Environment steps of these episodes."""
        return self.ledger.env_steps

    @property
    def n_searched(self) -> int:
        """How many numbers are searched."""
        parameters = dict(self._agent.named_parameters())
        return sum(parameters[name].numel() for name in self.searched)

    @abstractmethod
    def step(self) -> dict[str, float]:
        """One update or generation; returns at least "loss", the mean over the episodes it presented.

        Raises:
            Diverged: loss or parameters are no longer finite.
        """

    @abstractmethod
    def agent(self) -> Agent:
        """A copy of the agent with the parameters the search stands at."""

    def spread_over(self, actors: int) -> None:
        """Deal the work of each step to so many actors of Ray, which has been started, with the same result.

        Raises:
            UsageError: the searcher has no population whose individuals could be dealt out.
        """
        raise UsageError(f"actors={actors}: {type(self).__name__} has no population that could be dealt to actors")

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the next steps, as nested dicts and lists of tensors, numbers and strings."""
        state: dict[str, Any] = {"episodes": self.ledger.episodes, "env_steps": self.ledger.env_steps}
        if self._agent.normaliser is not None:
            state["normaliser"] = {name: x.clone() for name, x in self._agent.normaliser.state_dict().items()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken, in a searcher made with the same arguments; bit for bit."""
        self.ledger = Ledger(int(state["episodes"]), int(state["env_steps"]))
        if self._agent.normaliser is not None:
            self._agent.normaliser.load_state_dict(state["normaliser"])

    def update_normalisation(self, *lived: RunningMeanStd | None) -> None:
        """Let the agent normalise observations by these too, `Rollout.seen`: once an update or generation, at its end.

        Nothing happens if it does not normalise them.
        """
        for seen in lived:
            if self._agent.normaliser is not None and seen is not None:
                self._agent.normaliser.update(seen)


def with_gradients(method: Callable[P, R]) -> Callable[P, R]:
    """The method, which follows gradients also where its caller has switched them off."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.inference_mode(False), torch.enable_grad():
            return method(*args, **kwargs)

    return call


def searched_names(agent: Agent, patterns: Sequence[str]) -> list[str]:
    """Names of the parameters that match one of the patterns, in the agent's order."""
    names = [name for name, _ in agent.named_parameters()]
    if not names:
        raise UsageError(
            f"rule {agent.config['rule']!r} has no coefficients on {type(agent).__name__}, so there is nothing to "
            "search: transfer puts it to work as it is"
        )
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UsageError(f"searched pattern {pattern!r} matches none of the parameters {', '.join(names)}")
    if not patterns:
        raise UsageError("searched is empty: give at least one name pattern, '*' for all parameters")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def check_options(name: str, function: Callable[..., Any], options: dict[str, Any]) -> None:
    """Refuse options that `function` does not take by keyword, and name those it takes."""
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    common = {"self", "task", "agent", "problem", "center_init", "seed", "searched", "budget"}
    # of EvoTorch: a population that grows with the length of episodes, and one of several objectives
    common |= {"num_interactions", "popsize_max", "obj_index"}
    known = [key for key in parameters if key not in common]
    for key in options:
        if key not in known:
            sentence = f"searcher {name!r} has no option {shown(key)}: {choose(key, known)}"
            raise UnknownOptionError(sentence, key)


def with_parameters(agent: Agent, values: dict[str, torch.Tensor]) -> Agent:
    """A copy of the agent with some of its parameters replaced."""
    copied = copy.deepcopy(agent).requires_grad_(False)
    parameters = dict(copied.named_parameters())
    for name, value in values.items():
        parameters[name].copy_(value)
    return copied
