"""Completion of patterns of bits: Miconi et al. 2018, "Differentiable plasticity", section 4.2."""

from types import MappingProxyType

import torch
from torch import Tensor

from plastic_envs.core.task import Episode, Metric
from plastic_envs.tasks.completion import CompletionTask, check_half


class PatternCompletion(CompletionTask):
    """See some patterns of bits, then complete one of them of which half the bits are left out.

    ## Description
    `n_patterns` patterns of `n_bits` bits ±1, exactly half of each sign. In each of `n_rounds` rounds every pattern is
    shown once, in a fresh random order, for `n_show` steps, each followed by `n_blank` steps of zeros. Then one of them
    is shown for `n_query` steps with half of its bits zeroed; at the last step all its bits are asked for. All
    inputs are multiplied by `gain`, which drives units with a saturating nonlinearity to ±1. The authors compare with
    networks without plasticity on a small version, the row `SmallPatternCompletion`.

    ## Observation Space
    `n_bits` numbers `pattern`, and one number `bias` if there is one, which is always `gain`.

    ## Action Space
    `Box(n_bits)`: the bits.

    ## Rewards
    Minus the squared error, mean over the bits, in the last step, 0 otherwise. The loss is the squared error summed
    over the bits, the metric the fraction of bits with the wrong sign, where a 0 counts as half wrong.

    ## Arguments
    * `n_bits` (1000), `n_patterns` (5), `n_rounds` (2), `n_show` (6), `n_blank` (4), `n_query` (6): see above.
    * `gain` (20): what the inputs are multiplied with.
    * `bias` (False): whether there is a constant input.
    """

    metric_kind: Metric = "error rate"
    chance = 0.5
    best = 0.0

    def __init__(
        self,
        n_bits: int = 1000,
        n_patterns: int = 5,
        n_rounds: int = 2,
        n_show: int = 6,
        n_blank: int = 4,
        n_query: int = 6,
        gain: float = 20.0,
        bias: bool = False,
    ) -> None:
        self._lay_out(
            "pattern", (check_half("n_bits", n_bits),), n_items=n_patterns, n_rounds=n_rounds, n_show=n_show,
            n_blank=n_blank, n_query=n_query, gain=gain, bias=bias,
        )  # fmt: skip
        references = {"zeros": self.zeros, "copying what is shown": self.copy, "mean of the patterns": self.mean}
        self.references = MappingProxyType(references)

    def draw_items(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Patterns (n_patterns, B, n_bits) of as many −1 as +1."""
        return 1 - 2 * self._halves(self.n_items, batch_size, generator=generator).float()

    def draw_missing(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Half of the bits (B, n_bits)."""
        return self._halves(batch_size, generator=generator)

    def _halves(self, *shape: int, generator: torch.Generator) -> Tensor:
        """Half of the bits, drawn anew for each of a shape: (..., n_bits) bool."""
        keys = torch.rand(*shape, self.output_size, generator=generator, device=generator.device)
        return keys.argsort(-1) < self.output_size // 2

    def step_metric(self, action: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """Fraction of bits with the wrong sign (..., B); 0 counts as half wrong."""
        return (1 - action.sign() * targets).mean(-1) / 2

    def copy(self, episode: Episode) -> Tensor:
        """The bits that are shown, and zeros: a quarter is wrong, as half of the others would be by guessing."""
        return self.at_last(self.part_shown(episode.inputs))

    def mean(self, episode: Episode) -> Tensor:
        """The bits that are shown, and for the others the mean of all patterns, for who cannot tell which it is."""
        part = self.part_shown(episode.inputs)
        return self.at_last(part.where(part != 0, self.shown(episode).mean(0)))
