"""A task of your own: keys are shown with a number each, then the keys again, and the numbers are asked for.

Train on it without touching the package:
plastic-envs train examples.custom_task:PairedAssociates,n_pairs=3 --rule hebbian --budget 100000 --out runs/pairs
"""

import torch
from torch.nn.functional import one_hot

from plastic_envs import Episode, SupervisedTask, layout


class PairedAssociates(SupervisedTask):
    """Write `sample`; loss, reward, metric and the Gymnasium environments follow from it."""

    def __init__(self, *, n_pairs: int = 3) -> None:
        self.n_pairs = n_pairs
        self.horizon = 2 * n_pairs
        self.slices = layout({"key": n_pairs, "number": 1})
        self.output_size = 1
        self.chance, self.best = 1 / 3, 0.0  # squared error of always answering 0, and of a perfect memory

    def sample(self, batch_size: int, generator: torch.Generator) -> Episode:
        """Draw the numbers and two orders of the keys: one to show them in, one to ask for them in."""
        numbers = torch.rand(self.n_pairs, batch_size, generator=generator) * 2 - 1
        orders = [torch.rand(self.n_pairs, batch_size, generator=generator).argsort(0) for _ in range(2)]
        key = torch.cat(orders)  # (T, B)
        targets = numbers.gather(0, key).unsqueeze(-1)  # (T, B, 1)
        asked = (torch.arange(self.horizon) >= self.n_pairs).unsqueeze(1).expand(-1, batch_size)  # (T, B)
        inputs = torch.cat([one_hot(key, self.n_pairs), targets.masked_fill(asked.unsqueeze(-1), 0)], -1)
        return Episode(inputs, targets, loss_mask=asked, metric_mask=asked, hidden={})
