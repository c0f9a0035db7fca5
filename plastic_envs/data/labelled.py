"""The one form of labelled data: features, labels, which examples are for testing, and whether they are images."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import torch
from torch import Tensor

from plastic_envs.checks import check_int
from plastic_envs.errors import UsageError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
TEST_SHARE = 0.2  # of the examples of each class, where the source has no test part of its own


@dataclass(frozen=True)
class LabelledData:
    """Labelled examples, divided into a training and a test part; N examples of D numbers.

    Attributes:
        features: (N, D) float32. Given as (N, H, W), or (N, C, H, W) for C colours, they are images: values in [0, 1],
            or bytes from 0 to 255, which are kept as such and divided by 255 by `take`.
        labels: (N,) integers from 0, the class of each example.
        test: (N,) bool, which examples are the test part. Without it, a fifth of each class, drawn with a fixed seed.
        n_classes: how many classes there are; 0 for one more than the largest label.
        image_shape: (H, W) or (C, H, W), or None if the examples are no images.
        splits: the classes of "train", "validation" and "test", which share none, for tasks with new classes in every
            episode. Without them the classes, in order, are dealt out 60 : 20 : 20.
        half_turned: classes that a half turn makes into themselves or into one another, such as 0, or 6 and 9.

    Raises:
        UsageError: shapes, values, parts or splits do not fit.
    """

    features: Tensor
    labels: Tensor
    test: Tensor | None = None
    n_classes: int = 0
    image_shape: tuple[int, ...] | None = field(init=False)
    splits: Mapping[Split, Collection[int]] = field(default_factory=dict)
    half_turned: Collection[int] = ()

    def __post_init__(self) -> None:
        features = torch.as_tensor(self.features)
        image_shape = tuple(features.shape[1:]) if features.dim() in (3, 4) else None
        if image_shape is None or features.dtype != torch.uint8:
            features = features.float()
        features = features if image_shape is None else features.flatten(1)
        labels = torch.as_tensor(self.labels)
        _check_features(features, image_shape)
        if labels.shape != features.shape[:1] or labels.is_floating_point() or labels.min() < 0:
            raise UsageError(
                f"labels must be {len(features)} integers from 0, one per example, "
                f"not {labels.dtype} {tuple(labels.shape)}"
            )
        labels = labels.long()
        largest = int(labels.max())
        n_classes = check_int("n_classes", self.n_classes or largest + 1, largest + 1)
        test = _stratified(labels) if self.test is None else torch.as_tensor(self.test)
        if test.shape != labels.shape or test.dtype != torch.bool:
            raise UsageError(f"test must be {len(labels)} booleans, not {test.dtype} {tuple(test.shape)}")
        values = {"features": features, "labels": labels, "test": test, "n_classes": n_classes}
        values |= {"image_shape": image_shape, "splits": _check_splits(self.splits, torch.unique(labels).tolist())}
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def of_parts(cls, features: Any, labels: Any, test_features: Any, test_labels: Any) -> Self:
        """Data whose training and test part are given apart."""
        parts = [torch.as_tensor(part) for part in (features, test_features)]
        if parts[0].shape[1:] != parts[1].shape[1:]:
            raise UsageError(f"training and test examples must be of one shape, not {[tuple(p.shape) for p in parts]}")
        both = torch.cat([torch.as_tensor(part) for part in (labels, test_labels)])
        return cls(torch.cat(parts), both, torch.arange(len(both)) >= len(parts[0]))

    def take(self, rows: Tensor) -> Tensor:
        """Some examples by their row numbers (...), on the device of these: (..., D) float32."""
        found = self.features.to(rows.device)[rows]
        return found.float().div_(255) if found.dtype == torch.uint8 else found

    def rows(self, part: Literal["train", "test"]) -> Tensor:
        """Which examples are of a part: row numbers, ascending."""
        assert self.test is not None  # set above
        chosen = self.test if part == "test" else ~self.test
        return chosen.nonzero().squeeze(1)


def _check_features(features: Tensor, image_shape: tuple[int, ...] | None) -> None:
    if features.dim() != 2 or not features.numel():
        allowed = "(N, D), or (N, H, W) or (N, C, H, W) if images"
        raise UsageError(f"features must have the shape {allowed}, not {tuple(features.shape)}")
    if features.dtype == torch.uint8:
        if features.max() == 1:
            raise UsageError("images in bytes go from 0 to 255, and these hold only 0 and 1: give them as floats")
        return
    if image_shape is None:
        if not features.isfinite().all():
            raise UsageError("features must be finite numbers")
    elif not (features.min() >= 0 and features.max() <= 1):  # written so that NaN fails
        raise UsageError(f"images must lie in [0, 1], not in [{features.min():g}, {features.max():g}]")


def _check_splits(given: Mapping[Split, Collection[int]], classes: list[int]) -> dict[Split, tuple[int, ...]]:
    splits = {name: tuple(members) for name, members in (given or _deal(classes)).items()}
    members = [label for name in splits for label in splits[name]]
    if set(splits) != set(SPLITS) or len(set(members)) < len(members) or not set(members) <= set(classes):
        raise UsageError(f"splits must deal classes of the data to {', '.join(SPLITS)}, each to one, not {splits}")
    return splits


def _deal(classes: list[int]) -> dict[Split, list[int]]:
    held_out = max(1, round(0.2 * len(classes)))
    n_train = len(classes) - 2 * held_out
    return {"train": classes[:n_train], "validation": classes[n_train:-held_out], "test": classes[-held_out:]}


def _stratified(labels: Tensor) -> Tensor:
    """A test part drawn once and for all (seed 0): the same share of each class, (N,) bool."""
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    order = shuffled[labels[shuffled].argsort(stable=True)]  # class after class, shuffled within
    counts = labels.bincount()
    rank = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels[order]]
    test = torch.empty(len(labels), dtype=torch.bool)
    test[order] = rank < (TEST_SHARE * counts).round()[labels[order]]
    return test
