"""Labelled images: the data sets by name, and the form in which users bring their own."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor

from plastic_envs.errors import UsageError
from plastic_envs.registry import Registry, Row, construct

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
DATA = Registry(
    "data set",
    {"digits": Row("plastic_envs.data:digits", "1,797 handwritten digits of 8×8 pixels, from scikit-learn")},
)


@dataclass(frozen=True)
class ImageData:
    """Labelled grey images.

    Attributes:
        images: (N, H, W) float32 in [0, 1].
        labels: (N,) integers, the class of each image.
        splits: the classes of "train", "validation" and "test", which share none. Without them the classes, in order,
            are dealt out 60 : 20 : 20.
        half_turned: classes that a half turn makes into themselves or into one another, such as 0, or 6 and 9.

    Raises:
        UsageError: shapes, values or splits do not fit.
    """

    images: Tensor
    labels: Tensor
    splits: Mapping[Split, Collection[int]] = field(default_factory=dict)
    half_turned: Collection[int] = ()

    def __post_init__(self) -> None:
        images = torch.as_tensor(self.images, dtype=torch.float32)
        labels = torch.as_tensor(self.labels)
        if images.dim() != 3 or not images.numel():
            raise UsageError(f"images must have the shape (N, H, W), not {tuple(images.shape)}")
        if labels.shape != images.shape[:1] or labels.is_floating_point():
            raise UsageError(
                f"labels must be {len(images)} integers, one per image, not {labels.dtype} {tuple(labels.shape)}"
            )
        if not (images.min() >= 0 and images.max() <= 1):  # written so that NaN fails
            raise UsageError(f"images must lie in [0, 1], not in [{images.min():g}, {images.max():g}]")
        classes = torch.unique(labels).tolist()
        splits = {name: tuple(members) for name, members in (self.splits or _deal(classes)).items()}
        members = [label for name in splits for label in splits[name]]
        if set(splits) != set(SPLITS) or len(set(members)) < len(members) or not set(members) <= set(classes):
            raise UsageError(f"splits must deal classes of the data to {', '.join(SPLITS)}, each to one, not {splits}")
        for name, value in {"images": images, "labels": labels.long(), "splits": splits}.items():
            object.__setattr__(self, name, value)


def _deal(classes: list[int]) -> dict[Split, list[int]]:
    held_out = max(1, round(0.2 * len(classes)))
    n_train = len(classes) - 2 * held_out
    return {"train": classes[:n_train], "validation": classes[n_train:-held_out], "test": classes[-held_out:]}


def load_images(source: Any) -> ImageData:
    """Labelled images from a source.

    Args:
        source: a name in `DATA`, `module:Name`, an `ImageData`, a pair (images, labels) of arrays, an object with
            `images` and `labels`, or a function of no arguments that returns one of these.

    Raises:
        UsageError: the source is unknown, or what it gives has the wrong form.
    """
    given = DATA.load(source) if isinstance(source, str) else source
    if callable(given):
        given = construct("source", str(source), given, {})
    if isinstance(given, ImageData):
        return given
    if isinstance(given, tuple) and len(given) == 2:
        return ImageData(*given)
    if hasattr(given, "images") and hasattr(given, "labels"):
        return ImageData(given.images, given.labels)
    raise UsageError(f"source {source!r} gives a {type(given).__name__}, not images (N, H, W) and labels (N,)")


@lru_cache(maxsize=1)
def digits() -> ImageData:
    """The digits that scikit-learn ships (1,797 images 8×8; Alpaydin and Kaynak, UCI), split by digit.

    A half turn leaves 0, 1 and 8 as they are and swaps 6 and 9, which are therefore in one split.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return ImageData(
        torch.from_numpy(bunch.images).float() / 16,
        torch.from_numpy(bunch.target),
        splits={"train": (0, 1, 5, 6, 7, 9), "validation": (2, 8), "test": (3, 4)},
        half_turned=(0, 1, 6, 8, 9),
    )
