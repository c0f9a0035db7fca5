"""Few-shot classification of images: Duan et al.; Miconi et al. 2018, "Differentiable plasticity", section 4.4."""

import copy
from typing import Any, Literal, Self

import torch
from torch import Tensor
from torch.nn import functional

from plastic_envs.core.supervised import SupervisedTask, during
from plastic_envs.core.task import Episode, layout
from plastic_envs.data import SPLITS, Split, load_data
from plastic_envs.utils.checks import check_bool, check_choice, check_int, check_memory
from plastic_envs.utils.errors import UsageError


class FewShotImageClassification(SupervisedTask):
    """See a few labelled images of each of some new classes, then name the classes of others.

    ## Description
    `n_way` distinct classes are drawn per episode. The support steps, in random order, show `n_shot` images of each
    with its label; then each of `n_query` different classes, in random order, shows one more image without. With
    `rotate`, a class is a kind of image turned by 0, 90, 180 or 270 degrees, in all its images of the episode; kinds
    that a half turn makes into themselves or each other (of the digits 0, 1, 8, and 6 with 9) are turned by 0 or 90
    only. The classes of the training, validation and test splits come from different kinds of image.

    ## Observation Space
    H · W (times C colours) + `n_way` numbers: `image` (pixels in [0, 1]), `label` (one-hot; zeros in query steps).

    ## Action Space
    `Discrete(n_way)`: the label.

    ## Rewards
    1 for the right label in a query step, 0 otherwise. The loss is the cross-entropy of the query steps, the metric
    the accuracy over them.

    ## Arguments
    * `source` ("digits"): images and labels, see `plastic_envs.data.load_data`.
    * `split` ("train"): "train", "validation" or "test".
    * `n_way` (5), `n_shot` (1), `n_query` (`n_way`; Miconi et al. have 1), `rotate` (True): see above.
    * `labels` ("random"): which class gets which label is drawn anew per episode, or is its "rank" (Duan's program)
      among the episode's classes in the order of the split.
    * `loss` ("categorical"): "categorical", or the "binary" cross-entropy on the softmax (Miconi's program).
    * `metric_steps` ("all"): the accuracy over "all" query steps or of the "first" (which Duan et al. report too).
    """

    def __init__(
        self,
        source: Any = "digits",
        split: Split = "train",
        n_way: int = 5,
        n_shot: int = 1,
        n_query: int | None = None,
        rotate: bool = True,
        labels: Literal["random", "rank"] = "random",
        loss: Literal["categorical", "binary"] = "categorical",
        metric_steps: Literal["all", "first"] = "all",
    ) -> None:
        self.data = load_data(source)
        if self.data.image_shape is None:
            raise UsageError("source must be one of images (N, H, W) or (N, C, H, W), not of features (N, D)")
        self.n_way = check_int("n_way", n_way, 2)
        self.n_shot = check_int("n_shot", n_shot, 1)
        self.n_query = check_int("n_query", n_way if n_query is None else n_query, 1, n_way)
        self.rotate = check_bool("rotate", rotate)
        self.labels = check_choice("labels", labels, ("random", "rank"))
        self.loss_kind = check_choice("loss", loss, ("categorical", "binary"))
        self.metric_steps = check_choice("metric_steps", metric_steps, ("all", "first"))
        height, width = self.data.image_shape[-2:]
        if rotate and height != width:
            raise UsageError(f"rotate must be false for images that are not square ({height}×{width})")
        self.n_support = n_way * n_shot
        self.horizon = self.n_support + self.n_query
        self.slices = layout({"image": self.data.image_shape, "label": n_way}, feedback=["label"])
        self.observation_bound = 1.0
        self.output_size = n_way
        self.action_kind = "discrete"
        self.chance = 1 / n_way
        self.best = 1.0
        self.references = {"chance": self.zeros, "nearest neighbour": self.nearest_neighbour}
        self.oracle = self.truth
        pixel = torch.arange(self.slices["image"].stop).view(self.data.image_shape)
        turned = [pixel.rot90(turn, (-2, -1)).flatten() for turn in range(4 if rotate else 1)]
        self._turned = torch.stack(turned)  # (turns, pixels): where each pixel of a turned image comes from
        self._choose_split(check_choice("split", split, SPLITS))

    def _choose_split(self, split: Split) -> None:
        """Set out the images of a split, kind after kind, and its classes: a kind and a number of quarter turns."""
        self.split = split
        kinds = self.data.splits[split]
        members = [(self.data.labels == kind).nonzero().squeeze(1) for kind in kinds]
        classes = [
            (row, turn)
            for row, kind in enumerate(kinds)
            for turn in range(1 if not self.rotate else 2 if kind in self.data.half_turned else 4)
        ]
        if len(classes) < self.n_way:
            raise UsageError(f"n_way={self.n_way} needs as many classes, the {split} split has {len(classes)}")
        counts = torch.tensor([len(rows) for rows in members])
        if counts.min() <= self.n_shot:
            needed = self.n_shot + 1
            raise UsageError(f"n_shot={self.n_shot} needs {needed} images of every class, one has {counts.min()}")
        self._members = torch.cat(members)
        self._kinds = torch.tensor(kinds)
        self._counts, self._starts = counts, counts.cumsum(0) - counts
        self._classes = torch.tensor(classes)  # (classes, 2)

    def held_out(self) -> Self:
        """The same task on the test classes."""
        task = copy.copy(self)
        task._choose_split("test")
        return task

    def sample(self, batch_size: int, generator: torch.Generator) -> Episode:
        """Draw episodes; hidden: each step's `kind` of image, its number of quarter `turns`, and `sample` (T, B).

        Raises:
            UsageError: memory is short.
        """
        n_numbers = self.horizon * batch_size * self.observation_size
        cost = f"n_way={self.n_way} and n_shot={self.n_shot} in {batch_size} episodes take {n_numbers:,} numbers"
        check_memory(cost, 8e-9 * n_numbers, "take fewer or a smaller batch")
        device, n_way, n_support = generator.device, self.n_way, self.n_support
        support = _shuffled(n_way, self.n_shot, batch_size, generator)
        queries = _shuffled(n_way, 1, batch_size, generator)[: self.n_query]
        order = torch.cat([support, queries])  # (T, B): labels as they are shown
        chosen = _draw_distinct(torch.full((batch_size,), len(self._classes), device=device), n_way, generator)
        if self.labels == "rank":
            chosen = chosen.sort(0).values
        row, turns = self._classes.to(device)[chosen].unbind(-1)  # (n_way, B) each
        drawn = _draw_distinct(self._counts.to(device)[row], self.n_shot + 1, generator)  # (n_shot + 1, n_way, B)
        drawn = drawn + self._starts.to(device)[row]
        shot = _occurrence(order, n_way)
        episodes = torch.arange(batch_size, device=device)
        image = drawn[shot, order, episodes]  # (T, B)
        turn = turns.gather(0, order)
        n_pixels = self._turned.shape[1]
        upright = self.data.take(self._members.to(device)[image])  # (T, B, pixels)
        inputs = torch.zeros(self.horizon, batch_size, self.observation_size, device=device)
        inputs[..., :n_pixels] = upright.gather(-1, self._turned.to(device)[turn]) if self.rotate else upright
        inputs[:n_support, :, n_pixels:] = functional.one_hot(order[:n_support], n_way)
        steps = torch.arange(self.horizon, device=device)
        query = during(steps >= n_support, batch_size)
        scored = during(steps == n_support, batch_size) if self.metric_steps == "first" else query
        kind = self._kinds.to(device)[row].gather(0, order)
        return Episode(inputs, order, query, scored, {"kind": kind, "turns": turn, "sample": image})

    def step_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of every step, not masked: outputs (..., T, B, n_way), targets (T, B) → (..., T, B)."""
        if self.loss_kind == "categorical":
            return super().step_loss(outputs, targets)
        wanted = functional.one_hot(targets, self.n_way).to(outputs.dtype).expand(outputs.shape)
        loss: Tensor = functional.binary_cross_entropy(outputs.softmax(-1), wanted, reduction="none")
        return loss.mean(-1)

    def nearest_neighbour(self, episode: Episode) -> Tensor:
        """The label of the support image with the least squared distance in pixels."""
        images, labels = episode.inputs[..., : -self.n_way], episode.inputs[..., -self.n_way :]
        images = images.transpose(0, 1)  # (B, T, H·W)
        nearest = torch.cdist(images[:, self.n_support :], images[:, : self.n_support]).argmin(-1).T  # (n_query, B)
        answers = labels.clone()
        answers[self.n_support :] = labels[nearest, torch.arange(labels.shape[1], device=labels.device)]
        return answers

    def truth(self, episode: Episode) -> Tensor:
        """The oracle: it knows the labels."""
        return functional.one_hot(episode.targets, self.n_way).float()


def _shuffled(n: int, copies: int, batch_size: int, generator: torch.Generator) -> Tensor:
    """The numbers 0 … n-1, `copies` times each, in random order: (n · copies, batch)."""
    keys = torch.rand(n * copies, batch_size, generator=generator, device=generator.device)
    return keys.argsort(0) % n


def _draw_distinct(counts: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw n different numbers below each of `counts` (...), without replacement: (n, ...)."""
    uniform = torch.rand(n, *counts.shape, generator=generator, device=counts.device, dtype=torch.float64)
    drawn: list[Tensor] = []
    for draw in range(n):
        number = (uniform[draw] * (counts - draw)).long()  # its rank among those left
        for taken in torch.stack(drawn).sort(0).values if drawn else ():
            number = number + (number >= taken)
        drawn.append(number)
    return torch.stack(drawn)


def _occurrence(order: Tensor, n: int) -> Tensor:
    """How many times each step's label (T, B) came before, among n labels: (T, B)."""
    counted = functional.one_hot(order, n).cumsum(0)  # (T, B, n)
    return counted.gather(-1, order.unsqueeze(-1)).squeeze(-1) - 1
