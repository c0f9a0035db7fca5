"""One agent of a world whose others follow a policy: a task like any other."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from plastic_envs.core.task import Metric, Policy, Slice, Step, Task, replace_rows
from plastic_envs.core.world_task import WorldTask
from plastic_envs.utils.checks import check_choice
from plastic_envs.utils.errors import UsageError, WrongTypeError


class OneAgentState(NamedTuple):
    """Where B worlds stand, and what the others know."""

    world: Any
    observation: Tensor  # (..., B N, D) what all agents see
    memory: Any  # of the others' policy
    chance: Tensor  # state of the generator of what the others leave to chance


class OneAgent(Task):
    """The first agent of a world, among others who follow a policy.

    ## Description
    All is as in the world: what it sees, does and is paid. The episodes are those of the world's first agents. What the
    others leave to chance is drawn for all worlds of a batch together.

    ## Arguments
    * `world` ("Foraging"): a `WorldTask`, or what `make_task` takes.
    * `others` ("random"): the name of one of the world's policies, or a policy, see `plastic_envs.core.task.Policy`.
    """

    action_kind: Literal["box", "discrete"]
    metric_kind: Metric

    def __init__(self, world: WorldTask | str = "Foraging", others: Policy | str = "random") -> None:
        from plastic_envs.tasks import make_task  # which has a row for this task

        found = make_task(world) if isinstance(world, str) else world
        if not isinstance(found, WorldTask):
            raise WrongTypeError(f"world={world!r} is no world of many agents")
        if isinstance(others, str):
            check_choice("others", others, found.policies)
        self.world, self._n = found, found.agents_per_world
        self._others = found.policies[others] if isinstance(others, str) else others
        self.horizon, self.output_size, self.action_kind = found.horizon, found.output_size, found.action_kind
        self.slices: Mapping[str, Slice] = found.slices
        self.metric_kind, self.observation_bound = found.metric_kind, found.observation_bound
        self.action_bound = found.action_bound
        self.policies = {name: self._alone(policy) for name, policy in found.policies.items()}

    def _alone(self, policy: Policy) -> Policy:
        """A policy of the world for its first agents."""

        @functools.wraps(policy)  # says what it does
        def act(
            observation: Tensor, memory: Any, state: OneAgentState, generator: torch.Generator
        ) -> tuple[Tensor, Any]:
            action, memory = policy(state.observation, memory, state.world, generator)
            return action[:: self._n], memory

        return act

    def reset(self, batch_size: int, generator: torch.Generator) -> tuple[OneAgentState, Tensor]:
        """Draw worlds, and the seed of what others leave to chance; the first agents' observations (B, D)."""
        world, observation = self.world.reset(batch_size * self._n, generator)
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        chance = torch.Generator(generator.device).manual_seed(seed).get_state()
        return OneAgentState(world, observation, None, chance), observation[:: self._n]

    def step(self, state: OneAgentState, action: Tensor) -> Step:
        """Let the first agents do what they do (..., B) or (..., B, K), and the others what they are told."""
        exchange = _Exchange(state)
        told = _StepTogether.apply(action, self, exchange)  # type: ignore[no-untyped-call]
        return Step(exchange.state, *told)

    def step_all(self, state: OneAgentState, action: Tensor) -> Step:
        """The step itself."""
        dims = action.dim() - len(self.action_shape)
        observation = state.observation.expand(*action.shape[: dims - 1], -1, -1)
        generator = torch.Generator(action.device)
        generator.set_state(state.chance)
        others, memory = self._others(observation, state.memory, state.world, generator)
        # a policy that looks at the state alone may act once for all individuals
        others = others.expand(*observation.shape[:-1], *self.action_shape)
        apart = others.reshape(*action.shape[:dims], self._n, *self.action_shape)  # (..., B, N) or (..., B, N, K)
        rest = apart.narrow(dims, 1, self._n - 1)
        step = self.world.step(state.world, torch.cat([action.unsqueeze(dims), rest], dims).flatten(dims - 1, dims))
        new = OneAgentState(step.state, step.observation, memory, generator.get_state())
        outcome = (part[..., :: self._n] for part in (step.reward, step.terminated, step.metric, step.metric_mask))
        return Step(new, step.observation[..., :: self._n, :], *outcome)

    def replace(self, state: OneAgentState, mask: Tensor, fresh: OneAgentState) -> OneAgentState:
        """The state with the worlds of `mask` (B,) replaced by those of the state `fresh`, in order.

        Raises:
            UsageError: the others remember something: then all worlds must begin together.
        """
        if state.memory is not None:
            raise UsageError("the others' policy remembers: begin all worlds at once")
        rows = mask.repeat_interleave(self._n)
        world = self.world.replace(state.world, rows, fresh.world)
        return state._replace(world=world, observation=replace_rows(state.observation, rows, fresh.observation))

    @property
    def has_pictures(self) -> bool:
        """Whether the world can be drawn."""
        return self.world.has_pictures

    def draw(self, figure: Any, state: OneAgentState, index: int, actions: Sequence[Tensor]) -> None:
        """Draw the world."""
        self.world.draw(figure, state.world, index * self._n, actions)


class _StepTogether(torch.autograd.Function):
    """A step that `torch.vmap` takes for all individuals at once, as it lets nobody draw at random inside it."""

    @staticmethod
    def forward(action: Tensor, task: OneAgent, exchange: "_Exchange") -> tuple[Tensor, ...]:
        """Actions (..., B[, K]) to all that a step tells but its state, which is exchanged."""
        exchange.state, *told = task.step_all(exchange.state, action)
        return tuple(part.clone() for part in told)  # some are the same, or parts of another

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """No gradient passes through a world."""
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int, None, None], action: Tensor, task: OneAgent, exchange: "_Exchange"
    ) -> tuple[Any, Any]:
        """The same with the individuals in front."""
        return _StepTogether.apply(action.movedim(in_dims[0], 0), task, exchange), 0  # type: ignore[no-untyped-call]


class _Exchange:
    """A state on its way into a step, and the new one on its way out, of which `torch.vmap` shall know nothing."""

    def __init__(self, state: OneAgentState) -> None:
        self.state = state
