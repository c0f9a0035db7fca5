"""MNIST, Fashion-MNIST and EMNIST in their original files: images 28×28 in idx format."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from plastic_envs.data.digits import DIGIT_SPLITS
from plastic_envs.data.files import Download, locate, named_folder
from plastic_envs.data.idx import read_examples
from plastic_envs.data.labelled import LabelledData
from plastic_envs.utils.errors import UsageError

DIGITS, CAPITALS, SMALL = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
MERGED = DIGITS + CAPITALS + "abdefghnqrt"  # the other small letters count as their capitals
HALF_TURNED = "01689HILMNOPSUWXZbdlmnopqsuwxz"  # into itself or another, by a capital or a small letter

# Addresses and MD5 sums: torchvision, torchvision/datasets/mnist.py. EMNIST's SHA-256: TensorFlow Datasets,
# url_checksums/emnist.txt. In the order training images, training labels, test images, test labels.
MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
MNIST_SUMS = (
    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "d53e105ee54ea40749a09fcbcd1e9432",
    "9fb629c4189551a2d022fa330f9573f3",
    "ec29112dd5afa0611ce80d1b7f02629c",
)
FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
FASHION_SUMS = (
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "25c81989df183df01b3e8a0aad5dffbe",
    "bef4ecab320f06d8554ea6380940ec79",
    "bb300cfdad3c16e7a12a480ee83cd310",
)
EMNIST_URL = "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip"
EMNIST_SUM = "sha256:fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e"


@dataclass(frozen=True)
class _Format:
    """What the four files of a data set hold: their characters, class after class, or "" if they show no characters."""

    characters: str = DIGITS
    n_classes: int = 10
    first_label: int = 0


FORMATS = {
    "mnist": _Format(),
    "fashion-mnist": _Format(""),
    "emnist-balanced": _Format(MERGED, 47),
    "emnist-bymerge": _Format(MERGED, 47),
    "emnist-byclass": _Format(DIGITS + CAPITALS + SMALL, 62),
    "emnist-letters": _Format(CAPITALS, 26, first_label=1),
    "emnist-digits": _Format(),
    "emnist-mnist": _Format(),
}


def load(name: str, folder: str | Path | None = None) -> LabelledData:
    """One of `FORMATS`, with the training and the test part that it comes with; pixels / 255.

    Args:
        name: a name in `FORMATS`.
        folder: where the files are, there or in a subfolder of that name, under other usual names too (as in
            torchvision's MNIST/raw, or train-images.idx3-ubyte), compressed (.gz) or not; by default the folder that
            the environment variable PLASTIC_ENVS_DATA names. What is not there is downloaded, if the extra `download`
            is installed; this has not been tried against the real hosts.

    Raises:
        UsageError: a file is nowhere and cannot be fetched, is damaged, or does not fit the others.
    """
    downloads = _downloads(name)
    chosen = named_folder(folder)
    return _read(name, tuple(locate(name, file, chosen, download) for file, download in downloads.items()))


def _downloads(name: str) -> dict[str, Download]:
    """The four files, without .gz, and whence they can be fetched."""
    parts = [f"{name}-train", f"{name}-test"] if name.startswith("emnist") else ["train", "t10k"]
    files = [f"{part}-{kind}-ubyte" for part in parts for kind in ("images-idx3", "labels-idx1")]
    if name.startswith("emnist"):
        return {file: Download(EMNIST_URL, EMNIST_SUM, f"gzip/{file}.gz") for file in files}
    url, sums = (MNIST_URL, MNIST_SUMS) if name == "mnist" else (FASHION_URL, FASHION_SUMS)
    return {file: Download(f"{url}{file}.gz", f"md5:{md5}") for file, md5 in zip(files, sums, strict=True)}


@lru_cache(maxsize=2)
def _read(name: str, paths: tuple[Path, ...]) -> LabelledData:
    form = FORMATS[name]
    (images, labels), (test_images, test_labels) = (
        read_examples(*pair, n_classes=form.n_classes, first_label=form.first_label)
        for pair in zip(paths[::2], paths[1::2], strict=True)
    )
    if images.shape[1:] != test_images.shape[1:]:
        shapes = " and ".join(str(tuple(part.shape[1:])) for part in (images, test_images))
        raise UsageError(f"{paths[0]} and {paths[2]} must hold images of one shape, not {shapes}")
    pixels = torch.cat([images, test_images]).float().div_(255)
    both = torch.cat([labels, test_labels])
    held = set(torch.unique(both).tolist())  # of a part of a data set, not all classes
    splits = {split: [digit for digit in digits if digit in held] for split, digits in DIGIT_SPLITS.items()}
    return LabelledData(
        pixels.transpose(1, 2) if name.startswith("emnist") else pixels,  # EMNIST's files go column by column
        both,
        test=torch.arange(len(both)) >= len(labels),
        splits=splits if form.characters == DIGITS else {},
        half_turned=[label for label, character in enumerate(form.characters) if character in HALF_TURNED],
    )
