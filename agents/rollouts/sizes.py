"""What many lives at once take, before they begin."""

from typing import Any

import torch
from torch import Tensor

from agents.agent import Agent
from plastic_envs.core.task import Task
from plastic_envs.utils.checks import check_memory, in_gb
from plastic_envs.utils.limits import check_episodes


def check_lives(agent: Agent, task: Task, batch_size: int, population: int = 1, what: str | None = None) -> None:
    """Refuse more lives at once than there is memory for; an estimate from below, by what newborn agents hold.

    Args:
        agent: who lives.
        task: in what.
        batch_size: B, lives of an individual.
        population: P, individuals that live at once.
        what: begins the refusal; by default the number of lives.

    Raises:
        UsageError: their states and outputs would take more memory than there is.
    """
    check_episodes(task, batch_size, what)
    lives, outputs = population * batch_size, task.horizon * agent.output_size if task.drawn_beforehand else 0
    if 4e-9 * lives * outputs > 0.01:
        _check(what, lives, outputs)
    _check(what, lives, outputs + _newborn(agent, task.horizon))


def _check(what: str | None, lives: int, numbers: int) -> None:
    taken = 4e-9 * lives * numbers
    if taken > 0.01:  # a look at the machine is spared
        words = f"{lives:,} lives at once, of {numbers:,} numbers each, take {in_gb(taken)}"
        check_memory(f"{what}: {words}" if what else words, taken, "take fewer episodes or a smaller network")


def _newborn(agent: Agent, steps: int) -> int:
    """How many numbers the state of one agent holds at birth, in the form that a life of so many steps has."""
    known: dict[int, int] = vars(agent).setdefault("_newborn", {})
    if steps not in known:
        least = agent.batch_multiple
        with torch.no_grad():
            birth = agent.draw_birth(least, torch.Generator().manual_seed(0))
            known[steps] = _numbers(agent.initial_state((least,), birth, steps)) // least
    return known[steps]


def _numbers(state: Any) -> int:
    if isinstance(state, Tensor):
        return state.numel()
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return sum(map(_numbers, parts))
