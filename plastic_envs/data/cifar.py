"""CIFAR-10 and CIFAR-100 in their original binary files."""

import tarfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from plastic_envs.data.files import Download, fetch, named_folder
from plastic_envs.data.labelled import LabelledData
from plastic_envs.errors import UsageError

PIXELS = 3 * 32 * 32
URL = "https://www.cs.toronto.edu/~kriz/"  # with the MD5 sums below: its page cifar.html


@dataclass(frozen=True)
class _Format:
    """The archive, its folder and files, and how many bytes of labels come before a picture: the last one counts."""

    archive: str
    md5: str
    folder: str
    train: tuple[str, ...]
    test: str
    n_labels: int
    n_classes: int


FORMATS = {
    "cifar-10": _Format(
        "cifar-10-binary.tar.gz",
        "c32a1d4ab5d03f1284b67883e8d87530",
        "cifar-10-batches-bin",
        tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        "test_batch.bin",
        1,
        10,
    ),
    "cifar-100": _Format(
        "cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8", "cifar-100-binary", ("train.bin",), "test.bin",
        2, 100,
    ),
}  # fmt: skip


def load(name: str, folder: str | Path | None = None) -> LabelledData:
    """Colour pictures 3×32×32 of one of `FORMATS`, with the training and the test part that it comes with.

    Args:
        name: a name in `FORMATS`.
        folder: where the archive of the binary version is, or the folder that it holds, there or in a subfolder of that
            name; by default the folder that the environment variable PLASTIC_ENVS_DATA names. What is not there is
            downloaded, if the extra `download` is installed; this has not been tried against the real host.

    Raises:
        UsageError: a file is nowhere and cannot be fetched, or is damaged.
    """
    form, chosen = FORMATS[name], named_folder(folder)
    for place in (chosen / name, chosen) if chosen else ():
        for file in (form.folder, form.archive):
            if (place / file).exists():
                return _read(name, place / file)
    return _read(name, fetch(name, form.archive, Download(URL + form.archive, f"md5:{form.md5}"), chosen))


@lru_cache(maxsize=2)
def _read(name: str, path: Path) -> LabelledData:
    form = FORMATS[name]
    parts = [_examples(path, form, files) for files in (form.train, (form.test,))]
    (pixels, labels), (test_pixels, test_labels) = parts
    both = torch.cat([labels, test_labels])
    return LabelledData(torch.cat([pixels, test_pixels]), both, test=torch.arange(len(both)) >= len(labels))


def _examples(path: Path, form: _Format, files: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Pictures (N, 3, 32, 32) and labels (N,) of some files, one after the other."""
    record = form.n_labels + PIXELS
    rows = []
    for file in files:
        content = _content(path, f"{form.folder}/{file}")
        if not content or len(content) % record:
            raise UsageError(f"{path}: {file} must hold records of {record} bytes, not {len(content):,} bytes")
        rows.append(torch.from_numpy(np.frombuffer(content, np.uint8).copy()).view(-1, record))
    together = torch.cat(rows)
    labels = together[:, form.n_labels - 1].long()
    if int(labels.max()) >= form.n_classes:
        raise UsageError(f"{path}: labels must be below {form.n_classes}, one is {int(labels.max())}")
    return together[:, form.n_labels :].reshape(-1, 3, 32, 32), labels


def _content(path: Path, member: str) -> bytes:
    """A file of the archive, or of the folder that it holds."""
    try:
        if path.is_dir():
            return (path / Path(member).name).read_bytes()
        with tarfile.open(path) as archive:
            found = archive.extractfile(member)
            return b"" if found is None else found.read()
    except (OSError, tarfile.TarError, EOFError, KeyError) as error:
        raise UsageError(f"{path} cannot be read, is cut short or lacks {member}: {error}") from None
