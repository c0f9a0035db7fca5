"""Reproduce a sequence after a delay: Duan et al., "Hebbian and Gradient-based Plasticity Enables Robust Memory"."""

import torch
from torch import Tensor

from plastic_envs.core.supervised import SupervisedTask, during
from plastic_envs.core.task import Episode, layout
from plastic_envs.utils.checks import check_int


class SequenceReproduction(SupervisedTask):
    """Give a sequence of numbers back, in order, after a delay.

    ## Description
    `seq_length` values drawn from U(-1, 1) are shown, then come `delay` steps of zeros, then `seq_length` steps in
    which the values must be given back in their order.

    ## Observation Space
    3 numbers: `value` (0 but while shown), `sample` (1 while values are shown), `test` (1 while they are asked for).

    ## Action Space
    `Box(-1, 1, (1,))`: the value.

    ## Rewards
    Minus the squared error while values are asked for, 0 before. The metric is the same steps' squared error.

    ## Arguments
    * `seq_length` (20): how many values.
    * `delay` (20): how many steps lie between the last value and the first question.
    """

    def __init__(self, seq_length: int = 20, delay: int = 20) -> None:
        self.seq_length = check_int("seq_length", seq_length, 1)
        self.delay = check_int("delay", delay, 0)
        self.horizon = 2 * seq_length + delay
        self.slices = layout({"value": 1, "sample": 1, "test": 1})
        self.observation_bound = 1.0
        self.output_size = 1
        self.chance = 1 / 3
        self.best = 0.0
        self.references = {"zero": self.zeros}
        self.oracle = self.replay

    def sample(self, batch_size: int, generator: torch.Generator) -> Episode:
        """Draw episodes; nothing is hidden."""
        device, length = generator.device, self.seq_length
        values = torch.rand(length, batch_size, generator=generator, device=device) * 2 - 1
        inputs = torch.zeros(self.horizon, batch_size, 3, device=device)
        inputs[:length, :, 0] = values
        inputs[:length, :, 1] = 1
        inputs[-length:, :, 2] = 1
        targets = torch.zeros(self.horizon, batch_size, 1, device=device)
        targets[-length:, :, 0] = values
        asked = during(torch.arange(self.horizon, device=device) >= length + self.delay, batch_size)
        return Episode(inputs, targets, asked, asked, {})

    def replay(self, episode: Episode) -> Tensor:
        """The oracle: the values of the first part, in the last."""
        answers = self.zeros(episode)
        answers[-self.seq_length :] = episode.inputs[: self.seq_length, :, :1]
        return answers
