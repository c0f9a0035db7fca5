"""Any agent as a policy of Stable-Baselines3."""

import copy
from collections.abc import Collection, Mapping
from functools import reduce
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agents import Agent, State
from agents.agent import map_state
from evolution.searchers.base import Diverged
from evolution.searchers.policy_gradient.lives import Lives, activity, relive
from plastic_envs.utils.errors import MissingExtraError, UsageError
from plastic_envs.utils.precision import in_float32

try:
    from stable_baselines3.common.distributions import Distribution, make_proba_distribution
    from stable_baselines3.common.policies import BasePolicy
    from stable_baselines3.common.type_aliases import Schedule
except ImportError:
    raise MissingExtraError("searching with Stable-Baselines3", "sb3") from None


class AgentPolicy(BasePolicy):
    """An agent that acts by chance, with a value beside its outputs.

    Outputs are the logits of discrete actions, or the means of normal distributions whose standard deviations are
    learned beside them. The value is one more linear output of the hidden activity, as in Miconi's programs, and starts
    at 0; a network without hidden activity in its state reads it from the observation. Value and deviations are no part
    of the agent.

    The state that `predict` returns, and takes back with `episode_start`, is the agent's in one array (n, S): activity
    and every fast weight. Where an episode starts a newborn takes its place.

    Actions are not clipped: environments take them as they are.

    Args:
        observation_space: As the environments have it.
        action_space: `Discrete`, or a flat `Box`.
        lr_schedule: Gives the learning rate.
        agent: The agent, which is copied.
        searched: Names of its parameters that are trained; None for all.
        use_sde: Must be False, as exploration does not depend on the state.
        optimizer_class: Called with parameters and learning rate.
        optimizer_kwargs: Further keywords for it.

    Raises:
        UsageError: agent and spaces do not fit, or `use_sde` is asked for.
    """

    @in_float32
    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        lr_schedule: Schedule,
        *,
        agent: Agent,
        searched: Collection[str] | None = None,
        use_sde: bool = False,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(observation_space, action_space)
        if use_sde:
            raise UsageError("use_sde=True: an agent's exploration does not depend on its state")
        _check_sizes(agent, observation_space, action_space)
        self.agent = copy.deepcopy(agent).eval()
        names = [name for name, _ in self.agent.named_parameters()]
        self.searched = sorted(names if searched is None else searched)
        for name, parameter in self.agent.named_parameters():
            parameter.requires_grad_(name in self.searched)
        self.optimizer_class, self.optimizer_kwargs = optimizer_class, dict(optimizer_kwargs or {})
        self._births = torch.Generator().manual_seed(0)
        size = activity(torch.zeros(1, agent.observation_size), self._newborn(1)).shape[-1]
        self.value_net = nn.Linear(size, 1)
        nn.init.zeros_(self.value_net.weight)
        nn.init.zeros_(self.value_net.bias)
        self.action_dist = make_proba_distribution(action_space)
        if not isinstance(action_space, gymnasium.spaces.Discrete):
            self.log_std = nn.Parameter(torch.zeros(agent.output_size))
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        self.optimizer = optimizer_class(trained, lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]
        self.optimizer.register_step_pre_hook(_refuse_infinite)

    def _newborn(self, count: int) -> State:
        return self.agent.initial_state((count,), self.agent.draw_birth(count, self._births))

    def set_training_mode(self, mode: bool) -> None:
        """Nothing: running averages of a batch normalisation stay as they are."""

    def forward(
        self,
        obs: Tensor,
        state: Tensor | None = None,
        episode_starts: Tensor | None = None,
        deterministic: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Take one step.

        Args:
            obs: (n, D).
            state: (n, S), from the step before; None for newborns.
            episode_starts: (n,) bool, which are newborn; None for none of them.
            deterministic: Whether to take the likeliest action instead of drawing one from torch's own generator.

        Returns:
            Actions (n, ...), values (n, 1), logarithms of the actions' probabilities (n,), the new state (n, S).
        """
        newborn = self._newborn(len(obs))
        packed = pack(newborn)
        if state is not None:
            starts = torch.zeros(len(obs), dtype=torch.bool) if episode_starts is None else episode_starts
            packed = packed.where(starts.bool().unsqueeze(-1).to(packed.device), state.to(packed.device))
        output, after = self.agent(obs, unpack(packed, newborn))
        actions = self.distribution(output).get_actions(deterministic=deterministic)
        values, log_prob, _ = self.judge(output, activity(obs, after), actions)
        return actions, values, log_prob, pack(after)

    def distribution(self, outputs: Tensor) -> Distribution:
        """The distribution of actions that outputs (n, K) stand for.

        Raises:
            Diverged: outputs are not finite.
        """
        if not outputs.isfinite().all():
            raise Diverged("an agent's outputs are not finite")
        parameters = (outputs, self.log_std) if hasattr(self, "log_std") else (outputs,)
        return self.action_dist.proba_distribution(*parameters)

    def judge(self, outputs: Tensor, activities: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values (n, 1), logarithms of the actions' probabilities (n,) and entropies (n,)."""
        distribution = self.distribution(outputs)
        entropy = distribution.entropy()
        assert entropy is not None
        return self.value_net(activities), distribution.log_prob(actions), entropy

    def evaluate_actions(self, obs: Lives, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Judge whole episodes, with a gradient through all of their steps.

        Episodes that were lived with a gradient are not lived through again.

        Args:
            obs: The episodes.
            actions: Those of the steps in which an episode had not ended, (n, ...) in the order of `obs.active`.
        """
        lived = (obs.outputs, obs.activity) if obs.outputs.requires_grad else relive(self.agent, obs)
        outputs, activities = (part[obs.active] for part in lived)
        return self.judge(outputs, activities, actions)

    def _predict(self, observation: Tensor, deterministic: bool = False) -> Tensor:  # type: ignore[override]
        return self(observation, deterministic=deterministic)[0]  # type: ignore[no-any-return]

    @torch.no_grad()
    def predict(  # type: ignore[override]
        self,
        observation: NDArray[Any],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...]]:
        """Actions (n, ...) for observations (n, D), or one for one, and the state after the step (see above)."""
        tensor, many = self.obs_to_tensor(observation)
        assert isinstance(tensor, Tensor)
        old = None if state is None else torch.as_tensor(state[0])
        starts = None if episode_start is None else torch.as_tensor(np.atleast_1d(episode_start))
        actions, _, _, new = self(tensor, old, starts, deterministic)
        given = actions.numpy(force=True)
        return given if many else given[0], (new.numpy(force=True),)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            "agent": self.agent,
            "searched": self.searched,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
        }


def pack(state: State) -> Tensor:
    """All tensors of a state side by side (n, S), in single precision or that of the most precise."""
    leaves = _leaves(state)
    dtype = reduce(torch.promote_types, (leaf.dtype for leaf in leaves), torch.float32)
    return torch.cat([leaf.flatten(1).to(dtype) for leaf in leaves], -1)


def unpack(packed: Tensor, like: State) -> State:
    """The state that was packed, in the form of another."""
    parts = iter(torch.split(packed, [leaf[0].numel() for leaf in _leaves(like)], -1))

    def restore(leaf: Tensor) -> Tensor:
        part: Tensor = next(parts)
        return part.view_as(leaf).to(leaf.dtype)

    return map_state(like, restore)


def _leaves(state: State) -> list[Tensor]:
    return [leaf for value in state.values() for leaf in (_leaves(value) if isinstance(value, dict) else [value])]


def _check_sizes(agent: Agent, observation_space: Any, action_space: Any) -> None:
    """Refuse an agent that cannot live in these spaces."""
    spaces = gymnasium.spaces
    actions = int(action_space.n) if isinstance(action_space, spaces.Discrete) else action_space.shape
    if observation_space.shape != (agent.observation_size,) or actions not in (agent.output_size, (agent.output_size,)):
        raise UsageError(
            f"the agent was made for {agent.observation_size} observations and {agent.output_size} outputs, not for "
            f"observations in {observation_space} and actions in {action_space}"
        )


def _refuse_infinite(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Let no update happen by a gradient that is not finite."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None and not parameter.grad.isfinite().all():
                raise Diverged("a gradient is not finite")
