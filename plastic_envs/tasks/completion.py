"""What the completion tasks share: items are shown several times, then one of them in part, to be completed."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from plastic_envs.core.supervised import SupervisedState, SupervisedTask
from plastic_envs.core.task import Episode, layout
from plastic_envs.utils.checks import check_bool, check_float, check_int, check_memory
from plastic_envs.utils.errors import UsageError


class CompletionTask(SupervisedTask):
    """Items of K numbers, each shown once a round in a fresh random order, then one of them with a part zeroed.

    A subclass calls `_lay_out` in its own `__init__`, and writes `draw_items` and `draw_missing`.
    Only the last step is scored; its target is the whole item.
    """

    n_items: int
    n_rounds: int
    item_shape: tuple[int, ...]

    def _lay_out(
        self,
        name: str,
        item_shape: tuple[int, ...],
        *,
        n_items: int,
        n_rounds: int,
        n_show: int,
        n_blank: int,
        n_query: int,
        gain: float,
        bias: bool,
    ) -> None:
        """Check and keep the numbers of an episode, and lay out the observation."""
        self.n_items = check_int(f"n_{name}s", n_items, low=1)
        self.n_rounds = check_int("n_rounds", n_rounds, low=1)
        self.n_show = check_int("n_show", n_show, low=1)
        self.n_blank = check_int("n_blank", n_blank, low=0)
        self.n_query = check_int("n_query", n_query, low=1)
        self.gain = check_float("gain", gain, low=1e-6)
        self.bias = check_bool("bias", bias)
        self.item_shape = item_shape
        self.slices = layout({name: item_shape, **({"bias": 1} if bias else {})})
        self.output_size = self.slices[name].stop
        self.horizon = n_rounds * n_items * (n_show + n_blank) + n_query
        self.observation_bound = self.gain
        self.oracle = self.truth

    @abstractmethod
    def draw_items(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """The items of each episode (n_items, B, K), on the generator's device."""

    @abstractmethod
    def draw_missing(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Which numbers of the item are missing when it is asked for (B, K), bool."""

    def sample(self, batch_size: int, generator: torch.Generator) -> Episode:
        """Draw episodes.

        Hidden, the same at every step: `items` (T, B, n_items · K), which numbers are `missing` (T, B, K), and which
        item is `asked` for (T, B).
        """
        size, steps, device = self.output_size, self.horizon, generator.device
        n_numbers = steps * batch_size * self.observation_size
        check_memory(f"{batch_size} episodes hold {n_numbers:,} numbers", 8e-9 * n_numbers, "take fewer at once")
        items = self.draw_items(batch_size, generator)  # (n, B, K)
        keys = torch.rand(self.n_rounds, self.n_items, batch_size, generator=generator, device=device)
        order = keys.argsort(1).flatten(0, 1)  # (rounds · n, B)
        asked = torch.randint(self.n_items, (batch_size,), generator=generator, device=device)
        missing = self.draw_missing(batch_size, generator)  # (B, K)
        episodes = torch.arange(batch_size, device=device)
        inputs = items.new_zeros(steps, batch_size, self.observation_size)
        shown = inputs[: steps - self.n_query, :, :size].view(len(order), -1, batch_size, size)
        shown[:, : self.n_show] = items[order, episodes].unsqueeze(1)
        target = items[asked, episodes]  # (B, K)
        inputs[steps - self.n_query :, :, :size] = target.masked_fill(missing, 0)
        if self.bias:
            inputs[..., size] = 1
        inputs *= self.gain
        last = (torch.arange(steps, device=device) == steps - 1).unsqueeze(1).expand(-1, batch_size)
        hidden = {"items": items.transpose(0, 1).flatten(1), "missing": missing, "asked": asked}
        everywhere = {name: value.expand(steps, *value.shape) for name, value in hidden.items()}
        return Episode(inputs, target.expand(steps, -1, -1), last, last, everywhere)

    def step_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Squared error summed over the item, as the authors' programs have it: (..., T, B)."""
        return (outputs - targets).square().sum(-1)

    def loss(self, outputs: Tensor, episode: Episode) -> Tensor:
        """The loss of the last step, the only one that counts: (..., T, B, K) → (..., B)."""
        return self.step_loss(outputs[..., -1, :, :], episode.targets[-1])

    def step_reward(self, metric: Tensor, action: Tensor, targets: Tensor) -> Tensor:
        """Minus the squared error, mean over the item (..., B)."""
        return -(action - targets).square().mean(-1)

    def part_shown(self, inputs: Tensor) -> Tensor:
        """What is left of the item in the last observation, without the gain: (T, B, D) → (B, K)."""
        return inputs[-1, :, : self.output_size] / self.gain

    def at_last(self, answer: Tensor) -> Tensor:
        """An answer (B, K) as outputs (T, B, K), which are 0 at all other steps."""
        outputs = answer.new_zeros(self.horizon, *answer.shape)
        outputs[-1] = answer
        return outputs

    def shown(self, episode: Episode) -> Tensor:
        """The items as the first round shows them, without the gain: (n_items, B, K)."""
        each = self.n_show + self.n_blank
        return episode.inputs[: self.n_items * each : each, :, : self.output_size] / self.gain

    def truth(self, episode: Episode) -> Tensor:
        """The oracle: it knows the item."""
        return episode.targets

    def draw(self, figure: Any, state: SupervisedState, index: int, actions: Sequence[Tensor]) -> None:
        """Draw the items as they are shown, the part that is asked with, the answer of the moment and the truth."""
        from plastic_envs.rendering.completion import draw_completion  # draws with matplotlib, which is optional

        episode = state.episode.map(lambda part: part[:, index])
        upto = min(len(actions) + 1, self.horizon)
        draw_completion(
            figure,
            self.caption(episode, actions, upto),
            items=episode.hidden["items"][0].view(self.n_items, self.output_size),
            seen=episode.inputs[:upto, : self.output_size] / self.gain,
            answer=actions[-1] if actions else None,
            truth=episode.targets[0] if upto > self.horizon - self.n_query else None,
            shape=self.item_shape,
        )


def check_half(name: str, value: int) -> int:
    """An even number of at least 2, of which half can be left out.

    Raises:
        UsageError: it is odd, or too small.
    """
    if check_int(name, value, low=2) % 2:
        raise UsageError(f"{name} must be even, as half of them are left out, not {value}")
    return value
