"""The one time loop: agents live through episodes of a task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


import torch
from torch import Tensor, nn

from agents.agent import Agent, State
from plastic_envs.errors import UsageError
from plastic_envs.supervised import SupervisedTask
from plastic_envs.task import Episode, Task


@dataclass(frozen=True)
class Rollout:
    """What happened in a batch of B lifetimes of T steps; populations add a leading dimension P to each tensor.

    Attributes:
        outputs: What the agents answered (T, B, K).
        loss: Mean loss of each episode over the scored steps (B,).
        metric: The task's metric of each episode (B,).
        episode: The episodes lived through.
        state: The agents' state after the last step, in its public form.
        records: What was recorded, by name; time is the first dimension (after the population's).
    """

    outputs: Tensor
    loss: Tensor
    metric: Tensor
    episode: Episode
    state: State
    records: dict[str, Tensor] = field(default_factory=dict)


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
        episode: Episodes to live through again, instead of new ones.
        record: Names from `agent.recordable()` to be kept for every step.

    Raises:
        UsageError: the sizes of agent and task differ, or a recorded name is unknown.
    """
    _check(agent, task, record)
    if not isinstance(task, SupervisedTask):
        raise UsageError(f"task {type(task).__name__} has no targets: rollouts of closed-loop tasks are not there yet")
    if episode is None:
        episode = task.sample(batch_size, generator)
    birth = agent.draw_birth(batch_size, generator)
    lifetimes = _Lifetimes(agent, episode.inputs, birth, tuple(record))
    values = {f"agent.{name}": value for name, value in (parameters or {}).items()}
    own = dict(agent.named_parameters())
    population = next((len(v) for n, v in (parameters or {}).items() if v.dim() > own[n].dim()), None)
    if population is None or agent.batched:
        batch_shape = (batch_size,) if population is None else (population, batch_size)
        outputs, state, records = torch.func.functional_call(lifetimes, values, (batch_shape,))
    else:
        outputs, state, records = torch.vmap(
            lambda values: torch.func.functional_call(lifetimes, values, ((batch_size,), False))
        )(values)
    loss, metric = task.loss(outputs, episode), task.metric(outputs.detach(), episode)
    return Rollout(outputs, loss, metric, episode, state, records)


class _Lifetimes(nn.Module):
    """The loop as a module, so that one `functional_call` replaces the parameters for all of its steps."""

    def __init__(self, agent: Agent, inputs: Tensor, birth: Mapping[str, Tensor], record: tuple[str, ...]) -> None:
        super().__init__()
        self.agent, self.inputs, self.birth, self.record = agent, inputs, birth, record

    def forward(self, batch_shape: tuple[int, ...], remember: bool = True) -> tuple[Tensor, State, dict[str, Tensor]]:
        """Live all T steps; time comes after the population in everything returned."""
        agent = self.agent
        state = agent.initial_state(batch_shape, self.birth, len(self.inputs) if remember else None)
        outputs: list[Tensor] = []
        kept: dict[str, list[Tensor]] = {name: [] for name in self.record}
        for observation in self.inputs:
            seen: dict[str, Tensor] | None = {} if self.record else None
            output, state = agent(observation.expand(*batch_shape, -1), state, seen)
            outputs.append(output)
            for name, values in kept.items():
                values.append((seen or {})[name])
        time = len(batch_shape) - 1
        records = {name: torch.stack(values, time) for name, values in kept.items()}
        return torch.stack(outputs, time), state, records


def _check(agent: Agent, task: Task, record: Sequence[str]) -> None:
    """Refuse what does not fit together."""
    for what, mine, its in (
        ("observations", agent.observation_size, task.observation_size),
        ("outputs", agent.output_size, task.output_size),
    ):
        if mine != its:
            raise UsageError(f"the agent was made for {mine} {what} and {type(task).__name__} has {its}: they must agree")
    if unknown := set(record) - set(agent.recordable()):
        raise UsageError(f"cannot record {sorted(unknown)[0]!r}: choose from {', '.join(agent.recordable())}")


__all__ = ["Rollout", "rollout"]
