"""Completion of images: Miconi et al. 2018, "Differentiable plasticity", section 4.3."""

import copy
from types import MappingProxyType
from typing import Any, Literal, Self

import torch
from torch import Tensor

from plastic_envs.core.task import Episode
from plastic_envs.data import load_data
from plastic_envs.tasks.completion import CompletionTask, check_half
from plastic_envs.utils.errors import UsageError


class ImageCompletion(CompletionTask):
    """See some images, then complete one of them of which the top or the bottom half is left out.

    ## Description
    `n_images` grey images, each with zero mean and scaled so that its largest absolute value is 1. In each of
    `n_rounds` rounds every image is shown once, in a fresh random order, for `n_show` steps, each followed by `n_blank`
    steps of zeros. Then one of them is shown for `n_query` steps with its top or its bottom half zeroed (a fair
    choice); at the last step all its pixels are asked for. Images for training and for evaluation come from different
    parts of the source: of the photographs, one for training and the other for evaluation.

    ## Observation Space
    H · W numbers `image`, and one number `bias` if there is one, which is always 1.

    ## Action Space
    `Box(H · W)`: the pixels.

    ## Rewards
    Minus the squared error, mean over the pixels, in the last step, 0 otherwise. The loss is the squared error summed
    over all pixels, the metric the squared error, mean over the half that was left out.

    ## Arguments
    * `source` ("photographs"): images, see `plastic_envs.data.load_data`; colours are averaged.
    * `n_images` (3), `n_rounds` (3), `n_show` (20), `n_blank` (2), `n_query` (3): see above.
    * `bias` (True): whether there is a constant input.
    """

    best = 0.0

    def __init__(
        self,
        source: Any = "photographs",
        n_images: int = 3,
        n_rounds: int = 3,
        n_show: int = 20,
        n_blank: int = 2,
        n_query: int = 3,
        bias: bool = True,
    ) -> None:
        self.data = load_data(source)
        if self.data.image_shape is None:
            raise UsageError("source must be one of images (N, H, W), not of features (N, D)")
        height, width = self.data.image_shape[-2:]
        check_half("the height of the images", height)
        self._lay_out(
            "image", (height, width), n_items=n_images, n_rounds=n_rounds, n_show=n_show, n_blank=n_blank,
            n_query=n_query, gain=1.0, bias=bias,
        )  # fmt: skip
        references = {"zeros": self.zeros, "mean of the images shown": self.mean, "nearest image shown": self.nearest}
        self.references = MappingProxyType(references)
        self._choose("train")

    def _choose(self, part: Literal["train", "test"]) -> None:
        """Set out the images of a part of the data."""
        self._rows = self.data.rows(part)
        if len(self._rows) < self.n_items:
            raise UsageError(f"n_images={self.n_items} needs as many images, the {part} part has {len(self._rows)}")

    def held_out(self) -> Self:
        """The same task on the images of the test part."""
        task = copy.copy(self)
        task._choose("test")
        return task

    def draw_items(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Images (n_images, B, H · W), of which some may be drawn twice."""
        chosen = torch.randint(
            len(self._rows), (self.n_items, batch_size), generator=generator, device=generator.device
        )
        pixels = self.data.take(self._rows.to(chosen.device)[chosen])  # (n, B, [C,] H · W)
        shape = self.data.image_shape
        if shape is not None and len(shape) == 3:
            pixels = pixels.view(*pixels.shape[:-1], shape[0], -1).mean(-2)
        centred = pixels - pixels.mean(-1, keepdim=True)
        return centred / centred.abs().amax(-1, keepdim=True).clamp(min=1e-6)

    def draw_missing(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """The top or the bottom half (B, H · W)."""
        top = torch.rand(batch_size, 1, generator=generator, device=generator.device) < 0.5
        return (torch.arange(self.output_size, device=top.device) < self.output_size // 2) == top

    def step_metric(self, action: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """Squared error, mean over the half of the image that the observation leaves out (..., B)."""
        missing = _halves(inputs[..., : self.output_size]).eq(0).all(-1)  # (..., B, 2): which half
        error = _halves((action - targets).square()).mean(-1)
        return (error * missing).sum(-1) / missing.sum(-1).clamp(min=1)

    def mean(self, episode: Episode) -> Tensor:
        """The mean of the images shown, in both halves."""
        return self.at_last(self.shown(episode).mean(0))

    def nearest(self, episode: Episode) -> Tensor:
        """The image shown whose given half is nearest to the one asked with: what a perfect memory does."""
        shown, part = self.shown(episode), self.part_shown(episode.inputs)
        given = _halves(part).ne(0).any(-1).repeat_interleave(self.output_size // 2, -1)
        nearest = ((shown - part).square() * given).sum(-1).argmin(0)  # (B,)
        return self.at_last(shown[nearest, torch.arange(len(nearest), device=nearest.device)])


def _halves(image: Tensor) -> Tensor:
    """The top and the bottom half of images (..., K): (..., 2, K / 2)."""
    return image.reshape(*image.shape[:-1], 2, -1)
