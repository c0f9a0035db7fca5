"""What an agent is: a module over explicit state, whose weights change while it lives."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from agents.networks import networks_with
from agents.normalisation import RunningNormalisation
from agents.rules.base import Rule, Signal, check_bound, check_rate, check_traces
from plastic_envs.utils.errors import UsageError
from plastic_envs.utils.precision import in_float32

State = dict[str, Any]
"""A nested dict of tensors: activity and every fast weight, batch dimensions first."""


class Agent(nn.Module):
    """A network with memory in its activity and in its weights.

    Its parameters are the meta-parameters (slow weights, plasticity, coefficients of the rule), found by a searcher.
    All that changes within an episode lives in the state, so that a lifetime can be reset, saved, compared and moved.

    A kind of network is one subclass in one file and one row in `agents.NETWORKS`. It is made as
    `Network(observation_size, output_size, rule=…, options=…, seed=…)`, with `features=` too if it learns from labels,
    and `image_shape=` if its options name a front end. It says what it `offers`, has `Options`, and writes
    `initial_state` and `live`. Networks whose fast weights a rule changes are best made as subclasses of
    `agents.networks.fast_network.FastWeightNetwork`, which does all that rules and modulation ask for.

    Attributes:
        offers: The signals that a rule may need on this network.
        Options: A frozen dataclass: sizes and options of this network, checked where they are made.
        learns_from_labels: Whether it answers first and then learns from the label that follows the features in the
            observation.
        batch_multiple: Batches B are multiples of this number.
        config: Keyword arguments of `agents.make` that build this agent again, as JSON.
        batched: Whether `live` takes parameters with a leading population dimension; otherwise rollouts use
            `torch.vmap`. See `takes_population`.
        normaliser: What observations go through first, if anything; a searcher updates it.
        reward_at: Which number of an observation is the reward of the step before, where the rule reads it.
    """

    offers: ClassVar[frozenset[Signal]] = frozenset()
    Options: ClassVar[type]
    learns_from_labels: ClassVar[bool] = False
    batch_multiple: int = 1
    config: dict[str, Any]
    rule: Rule
    observation_size: int
    output_size: int
    batched: bool = False
    normaliser: RunningNormalisation | None
    reward_at: int | None

    def __init__(self, observation_size: int, output_size: int, *, rule: Rule, seed: int) -> None:
        super().__init__()
        if missing := set(rule.needs) - self.offers:
            raise UsageError(
                f"rule {type(rule).__name__} needs {', '.join(sorted(missing))}, which {type(self).__name__} lacks; "
                f"networks with all it needs: {', '.join(networks_with(rule.needs)) or 'none of the package'}"
            )
        check_bound(rule)
        check_rate(rule)
        check_traces(rule)
        self.observation_size, self.output_size, self.rule = observation_size, output_size, rule
        self.normaliser = None
        self.reward_at = None
        self._seed = seed
        self._births: torch.Generator | None = None

    @classmethod
    def rule_arguments(cls, observation_size: int, output_size: int, options: Any) -> dict[str, Any]:
        """What this network tells a rule that asks for it by a keyword of its own: shapes of layers, rounds.

        For networks that learn from labels, `observation_size` is the number of features; behind a front end it counts
        features instead of pixels.
        """
        return {}

    def draw_birth(self, batch_size: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Draw what is random at birth, (B, …) each; a population's individuals share it. Nothing by default."""
        return {}

    def initial_state(
        self,
        batch_shape: tuple[int, ...],
        birth: Mapping[str, Tensor] | None = None,
        steps: int | None = None,
        unscored: int = 0,
    ) -> State:
        """The state of newborn agents, for the leading dimensions `batch_shape`, (B,) or (P, B).

        With `steps`, it may take the form in which a rollout of that many steps is cheapest, of which no loss looks at
        the outputs of the first `unscored`; `close_state` undoes it.
        """
        raise NotImplementedError

    def perceive(self, observations: Tensor, state: State) -> Any:
        """What depends on observations alone, for many steps at once: (S, B, D) to anything that `[step]` indexes."""
        return observations if self.normaliser is None else self.normaliser(observations)

    def observed_reward(self, percept: Tensor) -> Tensor | None:
        """The reward (..., 1) in what was perceived (..., ·), whose last numbers are those of the observation.

        None if the rule does not read it.
        """
        if self.reward_at is None:
            return None
        return percept[..., percept.shape[-1] + self.reward_at - self.observation_size].unsqueeze(-1)

    def live(self, percept: Any, state: State, record: dict[str, Tensor] | None = None) -> tuple[Tensor, State]:
        """Live one step on what was perceived of it: output (..., B, K) and new state.

        With `record`, whatever happens inside is put there by name (see `recordable`).
        """
        raise NotImplementedError

    def learn(self, percepts: Any, state: State, scored: bool = False) -> tuple[Tensor, State] | None:
        """Live many labelled steps at once: outputs (..., S, B, K) and new state.

        For networks that learn from labels and can do so faster than by `live`, step by step; None if not. A loss looks
        at the outputs only if they are `scored`.
        """
        return None

    def attaches_gradient(self) -> bool:
        """Whether lives of rollouts are lived without gradients, and get them all at once by `attach_gradient`."""
        return False

    def attach_gradient(self, percepts: Any, hidden: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """Outputs, activity and state of a life, with their gradients.

        For recurrent networks whose way back is cheaper for all steps together than through each; see
        `attaches_gradient`.

        Args:
            percepts: What was perceived (T, B, ·), or where it depends on what individuals did (P, T, B, ·).
            hidden: `state["hidden"]` after each step (..., T, B, N), without a gradient.
            state: The state after the last step, likewise, in the rollout's form.

        Returns:
            Outputs (..., T, B, K), `hidden` and `state`.
        """
        raise NotImplementedError

    def answer(self, percepts: Any, state: State) -> Tensor:
        """Answer many observations without a label from one state: outputs (..., S, B, K).

        Only for networks that learn from labels, whose state an observation without a label leaves as it is.
        """
        raise NotImplementedError

    @in_float32
    def forward(
        self, observation: Tensor, state: State | None = None, record: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, State]:
        """Live one step: observation (..., D) and state to output (..., K) and new state; `None` means newborn.

        What is random at birth is then drawn from the agent's own seed, anew for each newborn.
        """
        if observation.shape[-1:] != (self.observation_size,) or observation.dtype != self.dtype:
            raise UsageError(
                f"observation has the shape {tuple(observation.shape)} and {observation.dtype}: this agent takes "
                f"(..., {self.observation_size}) and {self.dtype}"
            )
        if observation.dim() == 1:  # one agent: live as a batch of one
            batch = None if state is None else map_state(state, lambda x: x[None])
            output, new = self.forward(observation[None], batch, record)
            return output[0], map_state(new, lambda x: x[0])
        if state is None:
            if self._births is None:
                self._births = torch.Generator().manual_seed(self._seed)
            state = self.initial_state(observation.shape[:-1], self.draw_birth(observation.shape[-2], self._births))
        return self.live(self.perceive(observation[None], state)[0], state, record)

    @property
    def dtype(self) -> torch.dtype:
        """Of its parameters, of what it observes, and of its outputs."""
        return next((value.dtype for value in self.parameters()), torch.float32)

    def takes_population(self, names: Collection[str]) -> bool:
        """Whether `live` takes these parameters with a leading population dimension."""
        return self.batched

    def recordable(self) -> tuple[str, ...]:
        """Names of what happens inside a step, for `rollout(..., record=…)`."""
        return ()

    def close_state(self, state: State) -> State:
        """Back to the public form, plain tensors."""
        return state


def map_state(state: State, function: Callable[[Tensor], Tensor]) -> State:
    """Apply a function to every tensor of a nested state."""
    return {key: map_state(x, function) if isinstance(x, dict) else function(x) for key, x in state.items()}
