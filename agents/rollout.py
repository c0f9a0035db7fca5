"""The one time loop: agents live through episodes of a task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from agents.agent import Agent, State
from plastic_envs.checks import check_int
from plastic_envs.errors import UsageError
from plastic_envs.supervised import SupervisedTask
from plastic_envs.task import Episode, Outcome, Task, Trace, check_task


@dataclass(frozen=True)
class Rollout:
    """What happened in a batch of B lifetimes of T steps; populations add a leading dimension P to each tensor.

    Attributes:
        outputs: What the agents answered (T, B, K).
        loss: What a searcher minimises, for each episode (B,): the task's loss; without targets, minus the reward.
        metric: The task's metric of each episode (B,).
        episode: The episodes lived through; None where the agents' actions made them.
        state: The agents' state after the last step, in the rollout's form: see `Agent.close_state`.
        penalty: The rule's penalty on its coefficients, to be minimised beside the mean loss: (), a population's (P,).
        records: What was recorded, by name; time is the first dimension (after the population's).
        trace: What each step of a closed loop came to; None where the episodes were drawn beforehand.
    """

    outputs: Tensor
    loss: Tensor
    metric: Tensor
    episode: Episode | None
    state: State
    penalty: Tensor
    records: dict[str, Tensor] = field(default_factory=dict)
    trace: Trace | None = None


def rollout(
    agent: Agent,
    task: Task,
    batch_size: int,
    generator: torch.Generator,
    *,
    parameters: Mapping[str, Tensor] | None = None,
    episode: Episode | None = None,
    record: Sequence[str] = (),
) -> Rollout:
    """Let newborn agents live through a batch of episodes.

    Args:
        agent: The agent; its own parameters are used where `parameters` names no other.
        task: The task.
        batch_size: Episodes B.
        generator: Source of all randomness.
        parameters: Parameters by name to be used instead; with a leading dimension P, a population of P individuals
            lives through the same episodes.
        episode: Episodes of a supervised task to live through again, instead of new ones.
        record: Names from `agent.recordable()` to be kept for every step.

    Raises:
        UsageError: the sizes of agent, task, episodes or parameters differ, or a name is unknown.
    """
    _check(agent, task, record)
    check_int("batch_size", batch_size, low=1)
    population = _population(agent, parameters or {})
    if isinstance(task, SupervisedTask):
        episode = task.checked_sample(batch_size, generator) if episode is None else episode
        if episode.inputs.shape[:2] != (task.horizon, batch_size):
            raise UsageError(
                f"episode has {' × '.join(map(str, episode.inputs.shape[:2]))} steps × episodes, "
                f"not the task's {task.horizon} × batch_size={batch_size}"
            )
        world: Any = None
        first = episode.inputs[0]
    else:
        world, first = task.reset(batch_size, generator)
    lifetimes = _Lifetimes(agent, task, episode, world, first, agent.draw_birth(batch_size, generator), tuple(record))
    values = {f"agent.{name}": value for name, value in (parameters or {}).items()}
    individuals = _individuals(agent, values, population)
    if population is None or agent.batched:
        batch_shape = (batch_size,) if population is None else (population, batch_size)
        lived = torch.func.functional_call(lifetimes, values, (batch_shape,))
    else:
        lived = individuals(lambda values: torch.func.functional_call(lifetimes, values, ((batch_size,), False)))
    penalty = individuals(lambda values: torch.func.functional_call(_Penalty(agent), values, ()))
    outputs, trace, state, records = lived
    if isinstance(task, SupervisedTask):
        assert episode is not None
        loss, metric = task.loss(outputs, episode), task.metric(outputs.detach(), episode)
        return Rollout(outputs, loss, metric, episode, state, penalty, records)
    loss, metric = -trace.reward.sum(-2), task.score(trace).detach()
    return Rollout(outputs, loss, metric, None, state, penalty, records, trace)


def _individuals(
    agent: Agent, values: dict[str, Tensor], population: int | None
) -> Callable[[Callable[[dict[str, Tensor]], Any]], Any]:
    """How to apply a function of one individual's parameters to all of them."""
    own = dict(agent.named_parameters())
    dims = {name: 0 if value.dim() > own[name.removeprefix("agent.")].dim() else None for name, value in values.items()}

    def apply(function: Callable[[dict[str, Tensor]], Any]) -> Any:
        if population is None:
            return function(values)
        return torch.vmap(function, in_dims=(dims,), out_dims=0)(values)

    return apply


class _Penalty(nn.Module):
    """The rule's penalty as a module, so that `functional_call` replaces the parameters."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self.agent = agent

    def forward(self) -> Tensor:
        return self.agent.rule.penalty()


class _Lifetimes(nn.Module):
    """The loop as a module, so that one `functional_call` replaces the parameters for all of its steps."""

    def __init__(
        self,
        agent: Agent,
        task: Task,
        episode: Episode | None,
        world: Any,
        first: Tensor,
        birth: Mapping[str, Tensor],
        record: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.agent, self.task, self.birth, self.record = agent, task, birth, record
        self.episode, self.world, self.first = episode, world, first

    def forward(
        self, batch_shape: tuple[int, ...], remember: bool = True
    ) -> tuple[Tensor, Trace | tuple[()], State, dict[str, Tensor]]:
        """Live all T steps: outputs, the trace of a closed loop, state, records; time comes after the population."""
        agent, task, steps = self.agent, self.task, self.task.horizon
        queries = self._first_query()
        lived = steps if queries is None else queries
        state = agent.initial_state(batch_shape, self.birth, steps if remember else None, queries or 0)
        percepts = None if self.episode is None else agent.perceive(self.episode.inputs, state)
        world, observation = self.world, self.first
        if percepts is not None and queries is not None and remember:
            learned = agent.learn(percepts[:queries], state)
            if learned is not None:
                answers, state = learned
                answers = torch.cat([answers, agent.answer(percepts[queries:], state)], len(batch_shape) - 1)
                return answers, (), state, {}
        outputs: list[Tensor] = []
        outcomes: list[Outcome] = []
        kept: dict[str, list[Tensor]] = {name: [] for name in self.record}
        for step in range(lived):
            seen: dict[str, Tensor] | None = {} if self.record else None
            percept = agent.perceive(observation[None], state)[0] if percepts is None else percepts[step]
            output, state = agent.live(percept, state, seen)
            outputs.append(output)
            for name, values in kept.items():
                values.append((seen or {})[name].detach())
            if self.episode is None:
                result = task.step(world, task.action(output))
                world, observation = result.state, result.observation
                outcomes.append(result.outcome)
        time = len(batch_shape) - 1
        answers = torch.stack(outputs, time)
        if lived < steps:
            assert percepts is not None
            answers = torch.cat([answers, agent.answer(percepts[lived:], state)], time)
        records = {name: torch.stack(values, time) for name, values in kept.items()}
        return answers, Trace.of(outcomes) if outcomes else (), state, records

    def _first_query(self) -> int | None:
        """The step from which on an agent that learns from labels may answer all at once; None if there is none."""
        if self.record or not self.agent.learns_from_labels or not isinstance(self.task, SupervisedTask):
            return None
        return self.task.first_query


def _population(agent: Agent, parameters: Mapping[str, Tensor]) -> int | None:
    """The leading dimension P of the given parameters, None if they are those of one individual."""
    own = dict(agent.named_parameters())
    if unknown := parameters.keys() - own.keys():
        raise UsageError(f"the agent has no parameter {sorted(unknown)[0]!r}: choose from {', '.join(own)}")
    population = next((len(value) for name, value in parameters.items() if value.dim() > own[name].dim()), None)
    for name, value in parameters.items():
        shape = own[name].shape
        if value.shape != shape and (population is None or value.shape != (population, *shape)):
            wanted = f"{tuple(shape)}, or that behind the same number of individuals for all"
            raise UsageError(f"parameter {name!r} must have the shape {wanted}, not {tuple(value.shape)}")
    return population


def _check(agent: Agent, task: Task, record: Sequence[str]) -> None:
    """Refuse what does not fit together."""
    check_task(task)
    for what, mine, its in (
        ("observations", agent.observation_size, task.observation_size),
        ("outputs", agent.output_size, task.output_size),
    ):
        if mine != its:
            raise UsageError(
                f"the agent was made for {mine} {what} and {type(task).__name__} has {its}: they must agree"
            )
    if unknown := set(record) - set(agent.recordable()):
        raise UsageError(f"cannot record {sorted(unknown)[0]!r}: choose from {', '.join(agent.recordable())}")


__all__ = ["Rollout", "rollout"]
