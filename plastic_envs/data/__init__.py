"""Labelled data sets by name, and the form in which users bring their own."""

import os
from types import FunctionType
from typing import Any

from plastic_envs.data.folder import load as load_folder
from plastic_envs.data.labelled import SPLITS, LabelledData, Split
from plastic_envs.utils.errors import UnknownNameError, UnknownOptionError, WrongTypeError
from plastic_envs.utils.precision import in_float32
from plastic_envs.utils.registry import Registry, Row, construct

__all__ = ["DATA", "SPLITS", "LabelledData", "Split", "load_data"]

DATA = Registry(
    "data set",
    {
        "digits": Row(
            "plastic_envs.data.digits:digits",
            "1,797 handwritten digits of 8×8 pixels, from scikit-learn",
        ),
        "mnist": Row("plastic_envs.data.mnist:load", "70,000 handwritten digits of 28×28 pixels", {"name": "mnist"}),
        "fashion-mnist": Row("plastic_envs.data.mnist:load", "70,000 pieces of clothing", {"name": "fashion-mnist"}),
        **{
            f"emnist-{variant}": Row("plastic_envs.data.mnist:load", summary, {"name": f"emnist-{variant}"})
            for variant, summary in {
                "balanced": "131,600 handwritten digits and letters, 47 classes",
                "bymerge": "814,255 handwritten digits and letters, 47 classes",
                "byclass": "814,255 handwritten digits and letters, 62 classes",
                "letters": "145,600 handwritten letters, 26 classes",
                "digits": "280,000 handwritten digits",
                "mnist": "70,000 handwritten digits, cut as the rest of EMNIST",
            }.items()
        },
        "omniglot": Row(
            "plastic_envs.data.omniglot:load", "handwritten characters of 31×31 pixels, other alphabets for testing"
        ),
        "omniglot-characters": Row(
            "plastic_envs.data.omniglot:load",
            "the same, 100 characters of any alphabet kept for testing (Miconi)",
            {"split": "characters"},
        ),
        "photographs": Row(
            "plastic_envs.data.photographs:photographs",
            "patches of 32×32 pixels of two photographs, from scikit-learn",
        ),
        "cifar-10": Row("plastic_envs.data.cifar:load", "60,000 colour pictures, 10 classes", {"name": "cifar-10"}),
        "cifar-100": Row("plastic_envs.data.cifar:load", "60,000 colour pictures, 100 classes", {"name": "cifar-100"}),
        "cifar-fs": Row(
            "plastic_envs.data.folder:load_named", "CIFAR-100 split by classes, as a folder", {"name": "cifar-fs"}
        ),
        "miniimagenet": Row(
            "plastic_envs.data.folder:load_named",
            "60,000 photographs, 100 classes, as a folder",
            {"name": "miniimagenet"},
        ),
        "halfspace": Row("plastic_envs.data.synthetic:halfspace", "10 inputs on the two sides of a random plane"),
        "relu1": Row("plastic_envs.data.synthetic:relu", "10 inputs labelled by a random ReLU network", {"seed": 1}),
        "relu2": Row("plastic_envs.data.synthetic:relu", "the same by another such network", {"seed": 2}),
        "rnn": Row("plastic_envs.data.synthetic:rnn", "10 inputs labelled by a random k-winners-take-all network"),
    },
)


@in_float32
def load_data(source: Any, **options: Any) -> LabelledData:
    """Labelled examples from a source.

    Args:
        source: a name in `DATA`, the path of a folder of pictures (a text with a slash), `module:Name`, a
            `LabelledData`, arrays (features, labels) or (features, labels, test features, test labels), an object with
            `labels` and `features` or `images`, or a function that returns one of these.
        **options: what the function behind the name is called with.

    Raises:
        UsageError: the source is unknown, takes no such option, or what it gives has the wrong form.
    """
    given, name = source, source if isinstance(source, str) else _name(source)
    if isinstance(source, os.PathLike) or (isinstance(source, str) and "/" in source):
        given = load_folder(os.fspath(source))
    elif isinstance(source, str):
        if source not in DATA and os.path.isdir(source):
            raise UnknownNameError(f"unknown data set {source!r}: the folder of that name is written './{source}'")
        given, options = DATA.load(source), {**DATA[source].options, **options}
    if callable(given):
        given = construct("source", name, given, options)
    elif options:
        first = next(iter(options))
        raise UnknownOptionError(f"{first} is for sources by name or function, not for data that are given", first)
    if isinstance(given, LabelledData):
        return given
    if isinstance(given, tuple | list) and len(given) == 2:
        return LabelledData(*given)
    if isinstance(given, tuple | list) and len(given) == 4:
        return LabelledData.of_parts(*given)
    for attribute in ("features", "images"):
        if hasattr(given, attribute) and hasattr(given, "labels"):
            return LabelledData(getattr(given, attribute), given.labels)
    what = f"{len(given)} things" if isinstance(given, tuple | list) else f"a {type(given).__name__}"
    raise WrongTypeError(f"source {name!r} gives {what}, not images (N, H, W), or features (N, D), and labels (N,)")


def _name(source: Any) -> str:
    """What to call what a user gives: not by all its numbers."""
    return str(source.__qualname__ if isinstance(source, FunctionType | type) else type(source).__name__)
