"""What an agent is: a module over explicit state, whose weights change while it lives."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

State = dict[str, Any]
"""A nested dict of tensors: activity and every fast weight, batch dimensions first."""


class Agent(nn.Module):
    """A network with memory in its activity and in its weights.

    Its parameters are the meta-parameters (slow weights, plasticity, coefficients of the rule), found by a searcher.
    All that changes within an episode lives in the state, so that a lifetime can be reset, saved, compared and moved.
    """

    config: dict[str, Any]
    """Keyword arguments of `agents.make` that build this agent again, as JSON."""
    observation_size: int
    output_size: int
    batched: bool
    """Whether `forward` takes parameters with a leading population dimension; otherwise rollouts use `torch.vmap`."""

    def draw_birth(self, batch_size: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Draw what is random at the birth of each agent of a batch; nothing unless an agent says otherwise."""
        return {}

    def initial_state(
        self, batch_shape: tuple[int, ...], birth: Mapping[str, Tensor] | None = None, steps: int | None = None
    ) -> State:
        """The state of newborn agents, for the leading dimensions `batch_shape`.

        With `steps`, it may take the form in which a rollout of that many steps is cheapest; `close_state` undoes it.
        """
        raise NotImplementedError

    def forward(
        self, observation: Tensor, state: State | None = None, record: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, State]:
        """Live one step: observation (..., D) and state to output (..., K) and new state; `None` means newborn.

        With `record`, whatever happens inside is put there by name (see `recordable`).
        """
        raise NotImplementedError

    def recordable(self) -> tuple[str, ...]:
        """Names of what happens inside a step, for `rollout(..., record=…)`."""
        return ()

    def close_state(self, state: State) -> State:
        """Back to the public form, plain tensors."""
        return state
