"""Worlds that several agents share, as tasks: a row of the batch is one agent's lifetime."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from plastic_envs.core.task import Task
from plastic_envs.utils.errors import UsageError


class WorldTask(Task):
    """A task whose agents meet: W worlds of N agents make a batch of W·N, row w·N + i being agent i of world w.

    So whatever lives through batches of episodes lives in worlds too: rollouts, vector environments, searchers, all of
    whose agents share one policy. A subclass sets `agents_per_world`, calls `worlds(batch_size)` in `reset`, and keeps
    a state whose tensors begin with (..., W), the dimensions of a population in front.
    """

    agents_per_world: int

    def apart(self, rows: Tensor, dim: int = -1) -> Tensor:
        """Rows of a batch as agents of worlds: B becomes (W, N) at a dimension counted from the end."""
        place = rows.dim() + dim
        return rows.view(*rows.shape[:place], -1, self.agents_per_world, *rows.shape[place + 1 :])

    def together(self, agents: Tensor, dim: int = -1) -> Tensor:
        """The inverse of `apart`: (W, N), N at `dim`, becomes B."""
        return agents.flatten(dim - 1, dim)

    def draw_species(self, figure: Any, state: Any, index: int, actions: Sequence[Tensor], number: int) -> None:
        """What `draw` does, where agent i is of species i mod `number`; species look alike unless overridden."""
        self.draw(figure, state, index, actions)

    def whole_worlds(self, mask: Tensor) -> Tensor:
        """From a mask of rows (B,) to one of worlds (W,).

        Raises:
            UsageError: it holds some agents of a world and not others: they begin and end together.
        """
        mask = self.apart(mask)
        if bool((mask.any(1) != mask.all(1)).any()):
            raise UsageError(f"agents of a world begin and end together: reset all {self.agents_per_world} or none")
        return mask.all(1)
