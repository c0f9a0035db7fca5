"""The one form of labelled data: features, labels, which examples are for testing, and whether they are images."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from plastic_envs.utils.errors import UsageError, WrongTypeError
from plastic_envs.utils.precision import in_float32

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
TEST_SHARE = 0.2  # of the examples of each class, where the source has no test part of its own


@dataclass(frozen=True)
class LabelledData:
    """Labelled examples, divided into a training and a test part; N examples of D numbers.

    Attributes:
        features: (N, D) float32. Given as (N, H, W), or (N, C, H, W) for C colours, they are images: values in [0, 1],
            or bytes from 0 to 255, which are kept as such and divided by 255 by `take`.
        labels: (N,) from 0 to n_classes − 1, the class of each example. Given as any integers from 0: their distinct
            values, ascending, are the classes.
        test: (N,) bool, which examples are the test part. Without it, a fifth of each class, drawn with a fixed seed.
        n_classes: how many classes there are: as many as distinct labels, whatever is given.
        image_shape: (H, W) or (C, H, W), or None if the examples are no images.
        classes: the label of each class as it was given.
        splits: the classes of "train", "validation" and "test", which share none, for tasks with new classes in every
            episode; given as labels are. Without them the classes, in order, are dealt out 60 : 20 : 20.
        half_turned: classes that a half turn makes into themselves or into one another, such as 0, or 6 and 9; given as
            labels are, and others than there are do not matter.

    Raises:
        UsageError: shapes, values, parts or splits do not fit.
    """

    features: Tensor
    labels: Tensor
    test: Tensor | None = None
    n_classes: int = 0
    image_shape: tuple[int, ...] | None = field(init=False)
    classes: tuple[int, ...] = field(init=False)
    splits: Mapping[Split, Collection[int]] = field(default_factory=dict)
    half_turned: Collection[int] = ()

    @in_float32
    def __post_init__(self) -> None:
        features = _numbers("features", self.features)
        image_shape = tuple(features.shape[1:]) if features.dim() in (3, 4) else None
        if image_shape is None or features.dtype != torch.uint8:
            features = features.float()
        _check_features(features, image_shape)
        features = features if image_shape is None else features.flatten(1)
        given = _check_labels(_numbers("labels", self.labels), len(features))
        values, numbers = np.unique(given.numpy(), return_inverse=True)
        labels, classes = torch.from_numpy(numbers), tuple(values.tolist())
        if self.n_classes not in (0, len(classes)):
            raise UsageError(f"n_classes must be {len(classes)}, the number of distinct labels, not {self.n_classes!r}")
        test = _stratified(labels) if self.test is None else _numbers("test", self.test)
        if test.shape != labels.shape or test.dtype != torch.bool:
            raise UsageError(f"test must be {len(labels)} booleans, not {test.dtype} {tuple(test.shape)}")
        number = {label: index for index, label in enumerate(classes)}
        found = {"features": features, "labels": labels, "test": test, "n_classes": len(classes), "classes": classes}
        found |= {"image_shape": image_shape, "splits": _check_splits(self.splits, number)}
        found |= {"half_turned": tuple(number[label] for label in self.half_turned if label in number)}
        for name, value in found.items():
            object.__setattr__(self, name, value)

    @classmethod
    @in_float32
    def of_parts(cls, features: Any, labels: Any, test_features: Any, test_labels: Any) -> Self:
        """Data whose training and test part are given apart."""
        given = {"features": features, "test features": test_features, "labels": labels, "test labels": test_labels}
        shown, asked, *answers = (_numbers(name, values) for name, values in given.items())
        if shown.shape[1:] != asked.shape[1:]:
            shapes = [tuple(part.shape) for part in (shown, asked)]
            raise UsageError(f"training and test examples must be of one shape, not {shapes}")
        both = torch.cat([_check_labels(*pair) for pair in zip(answers, (len(shown), len(asked)), strict=True)])
        return cls(torch.cat([shown, asked]), both, torch.arange(len(both)) >= len(shown))

    def take(self, rows: Tensor) -> Tensor:
        """Some examples by their row numbers (...), on the device of these: (..., D) float32."""
        found = self.features.to(rows.device)[rows]
        return found.float().div_(255) if found.dtype == torch.uint8 else found

    def rows(self, part: Literal["train", "test"]) -> Tensor:
        """Which examples are of a part: row numbers, ascending."""
        assert self.test is not None  # set above
        chosen = self.test if part == "test" else ~self.test
        return chosen.nonzero().squeeze(1)


def _numbers(name: str, given: Any) -> Tensor:
    """What a user gives as numbers: a tensor of them, on the CPU and without its gradient.

    Raises:
        WrongTypeError: it is no array of real numbers, or some are masked.
    """
    values: Tensor | None = None
    try:
        if isinstance(given, Tensor):
            form = f"{given.dtype} {tuple(given.shape)}"
            values = None if given.is_complex() else given.detach().cpu().to_dense()
        else:
            array = np.asarray(given)
            form = f"{array.dtype} {array.shape}"
            if array.dtype.kind in "biuf":
                values = torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W"]))
    except Exception as error:  # whatever their own conversion raises
        raise WrongTypeError(f"{name} cannot be read as numbers: {str(error).partition(chr(10))[0]}") from None
    if np.ma.is_masked(given):
        raise WrongTypeError(f"{name} must be numbers, and some of them are masked")
    if values is None:
        numbered = "; numpy.unique(names, return_inverse=True)[1] numbers names" if "labels" in name else ""
        raise WrongTypeError(f"{name} must be real numbers, not {form}{numbered}")
    return values


def _check_labels(labels: Tensor, n: int) -> Tensor:
    fit = labels.shape == (n,) and not labels.is_floating_point()
    found = labels.long() if fit else labels
    if not fit or (n and found.min() < 0):
        which = f"one that is {found.min()}" if fit else f"{labels.dtype} {tuple(labels.shape)}"
        raise UsageError(f"labels must be {n} integers from 0, one per example, not {which}")
    return found


def _check_features(features: Tensor, image_shape: tuple[int, ...] | None) -> None:
    if features.dim() not in (2, 3, 4) or not features.numel():
        allowed = "(N, D), or (N, H, W) or (N, C, H, W) if images"
        raise UsageError(f"features must have the shape {allowed}, not {tuple(features.shape)}")
    if image_shape is None:
        if not features.square().isfinite().all():  # of which distances are made
            largest = features.abs().max()
            raise UsageError(f"features must be finite numbers, their squares too: the largest is {largest}")
        return
    if len(image_shape) == 3 and image_shape[0] > 4 and image_shape[2] in (1, 3, 4):
        raise UsageError(
            f"images must have the shape (N, C, H, W), colours first, not {tuple(features.shape)}: "
            "give their permute(0, 3, 1, 2), or numpy's transpose"
        )
    low, high = features.min(), features.max()
    if features.dtype == torch.uint8:
        if high == 1:
            raise UsageError("images in bytes go from 0 to 255, and these hold only 0 and 1: give them as floats")
    elif not (low >= 0 and high <= 1):  # written so that NaN fails
        advice = ": what goes from 0 to 255 is given as bytes (uint8)" if low >= 0 and 1 < high <= 255 else ""
        raise UsageError(f"images must lie in [0, 1], not in [{low:g}, {high:g}]{advice}")


def _check_splits(given: Mapping[Split, Collection[int]], number: Mapping[int, int]) -> dict[Split, tuple[int, ...]]:
    """The classes of the splits, counted from 0, from how they are called in the data."""
    splits = {name: tuple(members) for name, members in (given or _deal(list(number))).items()}
    members = [label for name in splits for label in splits[name]]
    if set(splits) != set(SPLITS) or len(set(members)) < len(members) or not set(members) <= set(number):
        raise UsageError(f"splits must deal classes of the data to {', '.join(SPLITS)}, each to one, not {splits}")
    return {name: tuple(number[label] for label in members) for name, members in splits.items()}


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
