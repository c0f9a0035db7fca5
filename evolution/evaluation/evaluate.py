"""How good an agent is, on episodes that no searcher ever presents."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from agents import Agent, rollout
from evolution.evaluation.statistics import bootstrap_interval
from evolution.seeding import make_generator
from plastic_envs.core.policies import policy_scores
from plastic_envs.core.supervised import SupervisedTask
from plastic_envs.core.task import Episode, Task
from plastic_envs.core.task_checks import check_task
from plastic_envs.utils.checks import check_int, check_memory, in_gb
from plastic_envs.utils.errors import UsageError, WrongTypeError
from plastic_envs.utils.leaving import leaving_refused
from plastic_envs.utils.limits import in_time
from plastic_envs.utils.precision import in_float32

SECONDS_A_STEP = 1e-7
"""Of an episode in a batch; none that we measured are faster."""
BYTES_AN_EPISODE = 100
"""Of what is kept of each: scores and losses, the references' too."""
LONGEST_EVALUATION = 86400.0
"""Seconds, by an estimate from below."""
CHUNK = 128
"""Episodes lived through at once, which bounds the memory of an evaluation."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of an agent on N held-out episodes.

    Attributes:
        metric: The task's metric, mean over the episodes.
        interval: 95% percentile bootstrap interval of `metric` over the episodes: how well this evaluation pins down
            this agent, nothing about other seeds. (nan, nan) where a score is not finite, is the only
            one, or all are equal.
        scores: The metric of each episode (N,).
        loss: The loss, mean over the episodes.
        references: The same metric for the task's reference predictors or policies, and for its oracle, on the same
            episodes.
    """

    metric: float
    interval: tuple[float, float]
    scores: Tensor
    loss: float
    references: Mapping[str, float] = field(default_factory=dict)


@in_float32
def reference_scores(
    task: Task, episode: Episode | None, batch_size: int, generator: torch.Generator
) -> Mapping[str, Tensor]:
    """The metric (B,) of each reference predictor or policy, and of the oracle.

    Args:
        task: the task.
        episode: what agents lived through; None in a closed loop, whose episodes the generator draws once more.
        batch_size: B.
        generator: as it was before `rollout` drew from it; it stays where it is.

    Raises:
        UsageError: a predictor or policy gives something else than outputs or actions, or what is not finite.
    """
    if episode is None or not isinstance(task, SupervisedTask):
        return policy_scores(task, batch_size, generator)
    predictors = dict(task.references) | ({"oracle": task.oracle} if task.oracle is not None else {})
    return {name: task.score_of(name, predict, episode) for name, predict in predictors.items()}


def check_evaluation(task: Task, episodes: int, what: str) -> None:
    """Refuse an evaluation that would last for days, or whose scores no memory holds.

    Args:
        task: the task.
        episodes: N.
        what: begins the refusal.

    Raises:
        UsageError: it is too large.
    """
    steps = task.horizon if task.drawn_beforehand else 1
    seconds, taken = SECONDS_A_STEP * episodes * steps, BYTES_AN_EPISODE * episodes / 1e9
    if seconds > LONGEST_EVALUATION:
        raise UsageError(f"{what} of {steps:,} steps last {in_time(seconds)} at the least: take fewer")
    check_memory(f"{what}: their scores take {in_gb(taken)}", taken, "take fewer")


@in_float32
@torch.no_grad()
@leaving_refused()
def evaluate(agent: Agent, task: Task, episodes: int = 1000, seed: int = 0, *, references: bool = True) -> Evaluation:
    """Let an agent live through episodes of the task's held-out part.

    Args:
        agent: the agent.
        task: the task; what it holds out (`Task.held_out`, test classes for images) is what counts.
        episodes: N, number of episodes.
        seed: which episodes; the same ones for every agent, and never those of a search, whatever its seed.
        references: whether to score the reference predictors or policies too.

    Raises:
        UsageError: `agent` is none, `episodes` is not a positive integer or fills no whole worlds, or agent and task do
            not fit.
    """
    if not isinstance(agent, Agent):
        raise WrongTypeError(
            f"agent must be an agents.Agent, not a {type(agent).__name__}: agents.load reads one from a folder"
        )
    episodes = check_int("episodes", episodes, low=1)
    seed = check_int("seed", seed, low=0)
    task = check_task(task).held_out()
    check_evaluation(task, episodes, f"episodes={episodes}")
    task.worlds(episodes)  # refuses what does not fill them, before anything is done
    agent = copy.deepcopy(agent).eval()
    generator = make_generator(seed, "evaluation")
    scores: list[Tensor] = []
    losses: list[Tensor] = []
    others: dict[str, list[Tensor]] = {}
    together = task.drawn_together
    chunk = max(together, CHUNK // together * together)
    for start in range(0, episodes, chunk):
        size, before = min(chunk, episodes - start), generator.clone_state()
        lived = rollout(agent, task, size, generator)
        scores.append(lived.metric)
        losses.append(lived.loss)
        for name, values in (reference_scores(task, lived.episode, size, before) if references else {}).items():
            others.setdefault(name, []).append(values)
    metrics = torch.cat(scores)
    apart = torch.stack([part.mean() for part in torch.split(metrics, together)])
    return Evaluation(
        metric=float(metrics.mean()),
        interval=bootstrap_interval(apart.numpy()),
        scores=metrics,
        loss=float(torch.cat(losses).mean()),
        references={name: float(torch.cat(values).mean()) for name, values in others.items()},
    )
