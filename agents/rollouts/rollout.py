"""The one time loop: agents live through episodes of a task."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from agents.agent import Agent, State
from agents.normalisation import RunningMeanStd
from agents.rollouts.closed_loop import Act, ClosedLoop
from agents.rollouts.given_parameters import named, population_size
from agents.rollouts.sizes import check_lives
from plastic_envs.core.supervised import SupervisedTask, check_form, checked_values
from plastic_envs.core.task import Episode, Task, Trajectory
from plastic_envs.core.task_checks import check_measure, check_task, check_trajectory, reset_checked
from plastic_envs.utils.checks import check_int, choose, shown
from plastic_envs.utils.errors import UnknownNameError, UsageError, WrongTypeError
from plastic_envs.utils.precision import in_float32


@dataclass(frozen=True)
class Rollout:
    """What happened in a batch of B lifetimes of T steps; populations add a leading dimension P to each tensor.

    T is the task's horizon, or less where the agents' actions have ended all episodes before.

    Attributes:
        outputs: What the agents answered (T, B, K).
        loss: What a searcher minimises, for each episode (B,): the task's loss; without targets, minus the sum of the
            rewards.
        metric: The task's metric of each episode (B,).
        episode: The episodes lived through; None where the agents' actions made them.
        state: The agents' state after the last step, in the rollout's form: see `Agent.close_state`.
        env_steps: Steps that all episodes of all individuals lasted, together.
        penalty: The rule's penalty on its coefficients, to be minimised beside the mean loss: (), a population's (P,).
        records: What was recorded, by name; time is the first dimension (after the population's).
        seen: Sums over what was observed, in a closed loop for each individual apart; None if the agent does not
            normalise observations.
        trajectory: What each step of a closed loop came to; None where the episodes were drawn beforehand.
        steps: How many steps each episode of a closed loop lasted (B,).
        hidden: Activity after each step (T, B, N), where agents have it in their state and `act` was given.
    """

    outputs: Tensor
    loss: Tensor
    metric: Tensor
    episode: Episode | None
    state: State
    env_steps: int
    penalty: Tensor
    records: dict[str, Tensor] = field(default_factory=dict)
    seen: RunningMeanStd | None = None
    trajectory: Trajectory | None = None
    steps: Tensor | None = None
    hidden: Tensor | None = None


@in_float32
def rollout(
    agent: Agent,
    task: Task,
    batch_size: int,
    generator: torch.Generator,
    *,
    parameters: Mapping[str, Tensor] | Tensor | None = None,
    episode: Episode | None = None,
    record: Sequence[str] = (),
    act: Act | None = None,
    birth: Mapping[str, Tensor] | None = None,
) -> Rollout:
    """Let newborn agents live through a batch of episodes.

    Args:
        agent: The agent; its own parameters are used where `parameters` names no other.
        task: The task.
        batch_size: Episodes B.
        generator: Source of all randomness.
        parameters: Parameters by name to be used instead; with a leading dimension P, a population of P individuals
            lives through the same episodes. Or all of them as one tensor (L,) or (P, L), in the order of
            `agent.parameters()`: what EvoTorch hands a fitness function, whose read-only tensors are welcome.
        episode: Episodes of a supervised task to live through again, instead of new ones.
        record: Names from `agent.recordable()` to be kept for every step.
        act: What agents do, from observation, outputs and new state, if not `Task.action` of the outputs. Then every
            task is lived as a closed loop, and the loss is minus the sum of the rewards. No gradient flows through it.
        birth: What was drawn at birth before (see `Agent.draw_birth`), to be born with again.

    Raises:
        UsageError: the sizes of agent, task, episodes or parameters differ, a name is unknown, or what the task gave is
            not finite where it counts.
    """
    _check(agent, task, record)
    batch_size = check_int("batch_size", batch_size, low=1)
    if act is not None and episode is not None:
        raise UsageError("act is for episodes that are lived step by step: leave out episode")
    parameters = named(agent, parameters)
    population = population_size(agent, parameters)
    check_lives(agent, task, batch_size, population or 1)
    if isinstance(task, SupervisedTask) and act is None:
        if episode is None:
            episode = task.checked_sample(batch_size, generator)
        else:
            _check_size(task, episode, batch_size)
            check_form(task, "episode", episode, batch_size, agent.dtype)
            episode = checked_values(task, "episode", episode)
        world: Any = None
        first = episode.inputs[0]
    else:
        world, first = reset_checked(task, batch_size, generator, agent.dtype)
    birth = agent.draw_birth(batch_size, generator) if birth is None else birth
    lifetimes = _Lifetimes(agent, task, episode, world, first, birth, tuple(record), act)
    values = {f"agent.{name}": value for name, value in parameters.items()}
    individuals = _individuals(agent, values, population)
    own = dict(agent.named_parameters())
    different = [name for name, value in parameters.items() if value.dim() > own[name].dim()]
    mapped = population is not None and not agent.takes_population(different)
    if not mapped:
        batch_shape = (batch_size,) if population is None else (population, batch_size)
        lived = torch.func.functional_call(lifetimes, values, (batch_shape,))
    else:
        lived = individuals(lambda values: torch.func.functional_call(lifetimes, values, ((batch_size,), True)))
    penalty = individuals(lambda values: torch.func.functional_call(_Penalty(agent), values, ()))
    outputs, state, records, closed, hidden = lived
    if isinstance(task, SupervisedTask) and episode is not None:
        loss = check_measure(task, "loss", task.loss(outputs, episode), outputs)
        metric = check_measure(task, "metric", task.metric(outputs.detach(), episode), outputs)
        env_steps = loss.numel() * task.horizon
        seen = (
            RunningMeanStd.of(episode.inputs.flatten(0, 1), episode.loss_mask.new_ones(()))
            if agent.normaliser is not None
            else None
        )
        return Rollout(outputs, loss, metric, episode, state, env_steps, penalty, records, seen)
    trajectory, observed, steps, *sums = closed
    check_trajectory(task, trajectory, observed, outputs)
    loss, metric = -trajectory.reward.sum(-2), check_measure(task, "score", task.score(trajectory), outputs).detach()
    if task.action_kind == "discrete":  # the largest output, so what was done, is one that is no number
        lost = (outputs.detach().isnan().any(-1) & trajectory.active).any(-2)
        loss, metric = (torch.where(lost, math.nan, part) for part in (loss, metric))
    env_steps = int(steps.expand(loss.shape).sum())
    seen = RunningMeanStd(*sums) if sums else None
    return Rollout(outputs, loss, metric, None, state, env_steps, penalty, records, seen, trajectory, steps, *hidden)


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
        act: Act | None,
    ) -> None:
        super().__init__()
        self.agent, self.task, self.birth, self.record, self.act = agent, task, birth, record, act
        self.episode, self.world, self.first = episode, world, first

    def forward(
        self, batch_shape: tuple[int, ...], mapped: bool = False
    ) -> tuple[Tensor, State, dict[str, Tensor], tuple[Any, ...], tuple[Tensor, ...]]:
        """Live all T steps; time comes after the population.

        Gives outputs, state, records, what a closed loop came to, and activity if it is asked for.

        Where `torch.vmap` maps over the individuals, nothing can depend on what they do: the state is plain tensors,
        and a closed loop goes on to the horizon.
        """
        agent, steps = self.agent, self.task.horizon
        queries = self._first_query()
        lived = steps if queries is None else queries
        no_feedback = self.episode is not None or self.act is not None  # that gradients could flow through
        attaches = torch.is_grad_enabled() and no_feedback and not mapped and agent.attaches_gradient()
        noted = torch.is_grad_enabled() and not attaches
        with torch.set_grad_enabled(noted):
            state = agent.initial_state(batch_shape, self.birth, None if mapped else steps, queries or 0)
        percepts = None if self.episode is None else agent.perceive(self.episode.inputs, state)
        closed = self._closed_loop(batch_shape, mapped)
        if percepts is not None and not self.record and not mapped:
            learned = agent.learn(percepts[:lived], state, scored=queries is None)
            if learned is not None:
                answers, state = learned
                if lived < steps:
                    answers = torch.cat([answers, agent.answer(percepts[lived:], state)], len(batch_shape) - 1)
                return answers, state, {}, (), ()
        outputs: list[Tensor] = []
        perceived: list[Tensor] = []
        hidden: list[Tensor] = []
        kept: dict[str, list[Tensor]] = {name: [] for name in self.record}
        with torch.set_grad_enabled(noted):
            for step in range(lived):
                seen: dict[str, Tensor] | None = {} if self.record else None
                if closed is not None:
                    with torch.set_grad_enabled(noted or attaches):
                        percept = agent.perceive(closed.observation[None], state)[0]
                    if attaches:
                        perceived.append(percept)
                else:
                    assert percepts is not None
                    percept = percepts[step]
                output, state = agent.live(percept, state, seen)
                outputs.append(output)
                if (attaches or self.act is not None) and "hidden" in state:
                    hidden.append(state["hidden"])
                for name, values in kept.items():
                    values.append((seen or {})[name].detach())
                if closed is not None:
                    closed.act(output, state)
                    if closed.over:
                        break
        time = len(batch_shape) - 1
        records = {name: torch.stack(values, time) for name, values in kept.items()}
        told = () if closed is None else closed.told()
        activity = torch.stack(hidden, time) if hidden else None
        if attaches:
            assert activity is not None
            if percepts is None:  # the first may be the same for all individuals
                percepts = torch.stack([percept.expand_as(perceived[-1]) for percept in perceived], time)
            answers, activity, state = agent.attach_gradient(percepts, activity, state)
            return answers, state, records, told, (activity,)
        answers = torch.stack(outputs, time)
        if lived < steps:
            assert percepts is not None
            answers = torch.cat([answers, agent.answer(percepts[lived:], state)], time)
        return answers, state, records, told, () if activity is None else (activity,)

    def _closed_loop(self, batch_shape: tuple[int, ...], mapped: bool) -> ClosedLoop | None:
        """None if the episodes are known beforehand."""
        if self.episode is not None:
            return None
        sums = self.agent.normaliser is not None
        return ClosedLoop(self.task, self.world, self.first, batch_shape, sums, self.act, mapped)

    def _first_query(self) -> int | None:
        """The step from which on an agent that learns from labels may answer all at once; None if there is none."""
        if self.record or self.episode is None or not self.agent.learns_from_labels:
            return None
        assert isinstance(self.task, SupervisedTask)
        return self.task.first_query


def _check_size(task: SupervisedTask, episode: object, batch_size: int) -> None:
    """Refuse what are not episodes of this number and length."""
    if not isinstance(episode, Episode):
        raise WrongTypeError(f"episode must be a plastic_envs.Episode, not a {type(episode).__name__}")
    if episode.inputs.shape[:2] != (task.horizon, batch_size):
        raise UsageError(
            f"episode has {' × '.join(map(str, episode.inputs.shape[:2]))} steps × episodes, "
            f"not the task's {task.horizon} × batch_size={batch_size}"
        )


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
        first = min(unknown)
        raise UnknownNameError(f"cannot record {shown(first)}: {choose(first, agent.recordable())}")


__all__ = ["Rollout", "rollout"]
