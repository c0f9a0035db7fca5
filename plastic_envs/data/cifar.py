"""CIFAR-10 and CIFAR-100 in their original files, of the binary version or of the one for Python."""

import pickletools
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from plastic_envs.data.archives import read_tar
from plastic_envs.data.files import Download, fetch, find, is_folder, named_folder
from plastic_envs.data.labelled import LabelledData
from plastic_envs.utils.errors import FileUsageError
from plastic_envs.utils.reading import read_bytes

PIXELS = 3 * 32 * 32
URL = "https://www.cs.toronto.edu/~kriz/"  # with the MD5 sums below: its page cifar.html
MOST_BYTES = 400_000_000  # of all files, which have 185 million
MOST_OPCODES = 400_000  # of a file for Python: those of CIFAR-100 have 250,000


@dataclass(frozen=True)
class _Format:
    """The files of a data set, and how its labels are written.

    Attributes:
        md5: of the archive of the binary version.
        binary: the folder in that archive, which is called `<name>-binary.tar.gz`.
        python: the folder in the archive of the version for Python, `<name>-python.tar.gz`.
        train: the files of the training part, in the binary version with the ending .bin.
        test: the file of the test part.
        n_labels: in the binary version, how many bytes of labels come before a picture: the last one counts.
        key: in the version for Python, what the list of labels is called.
        n_classes: labels are below this.
    """

    md5: str
    binary: str
    python: str
    train: tuple[str, ...]
    test: str
    n_labels: int
    key: str
    n_classes: int


FORMATS = {
    "cifar-10": _Format(
        "c32a1d4ab5d03f1284b67883e8d87530",
        "cifar-10-batches-bin",
        "cifar-10-batches-py",
        tuple(f"data_batch_{number}" for number in range(1, 6)),
        "test_batch",
        1,
        "labels",
        10,
    ),
    "cifar-100": _Format(
        "03b5dce01913d631647c71ecec9e9cb8", "cifar-100-binary", "cifar-100-python", ("train",), "test",
        2, "fine_labels", 100,
    ),
}  # fmt: skip


def load(name: str, folder: str | Path | None = None) -> LabelledData:
    """Colour pictures 3×32×32 of one of `FORMATS`, with the training and the test part that it comes with.

    Args:
        name: a name in `FORMATS`.
        folder: where the archive of the binary version or of that for Python is, or the folder that it holds, there or
            in a subfolder of that name; by default the folder that the environment variable PLASTIC_ENVS_DATA names.
            What is not there is downloaded, if the extra `download` is installed; this has not been tried against the
            real host.

    Raises:
        UsageError: a file is nowhere and cannot be fetched, or is damaged.
    """
    form, chosen = FORMATS[name], named_folder(folder)
    archive = f"{name}-binary.tar.gz"
    found = find(chosen, (name,), (form.binary, archive, form.python, f"{name}-python.tar.gz"))
    return _read(name, found or fetch(name, archive, Download(URL + archive, f"md5:{form.md5}"), chosen))


@lru_cache(maxsize=2)
def _read(name: str, path: Path) -> LabelledData:
    form = FORMATS[name]
    is_binary = "bin" in path.name.lower()
    files = [f"{file}.bin" if is_binary else file for file in (*form.train, form.test)]
    if is_folder(path):
        contents = {file: read_bytes(path / file, MOST_BYTES) for file in files}
    else:
        contents = read_tar(path, files, MOST_BYTES)
    read = _of_binary if is_binary else _of_python
    parts = [read(form, contents.pop(file), f"{path}: {file}") for file in files]
    labels = torch.cat([part[0] for part in parts])
    if int(labels.max()) >= form.n_classes or int(labels.min()) < 0:
        wrong = int(labels.max()) if int(labels.max()) >= form.n_classes else int(labels.min())
        raise FileUsageError(f"{path}: labels must be below {form.n_classes}, one is {wrong}")
    n_train = len(labels) - len(parts[-1][0])
    return LabelledData(torch.cat([part[1] for part in parts]), labels, test=torch.arange(len(labels)) >= n_train)


def _of_binary(form: _Format, content: bytes, name: str) -> tuple[Tensor, Tensor]:
    """Labels (N,) and pictures (N, 3, 32, 32) of a file of records."""
    record = form.n_labels + PIXELS
    if not content or len(content) % record:
        raise FileUsageError(f"{name} must hold records of {record} bytes, not {len(content):,} bytes")
    rows = torch.from_numpy(np.frombuffer(content, np.uint8).copy()).view(-1, record)
    return rows[:, form.n_labels - 1].long(), rows[:, form.n_labels :].reshape(-1, 3, 32, 32)


def _of_python(form: _Format, content: bytes, name: str) -> tuple[Tensor, Tensor]:
    """The same of a pickled dictionary, which is not unpickled, as that could run anything, but read op by op.

    The labels are the whole numbers after their key, the pictures the longest string, by rows.
    """
    labels: list[int] = []
    pixels, key, by_columns, flag = b"", "", False, False
    try:
        for count, (op, value, _) in enumerate(pickletools.genops(content)):
            if count > MOST_OPCODES:
                raise ValueError(f"it has more than {MOST_OPCODES:,} parts")
            if isinstance(value, str | bytes | bytearray):
                key = value[:20] if isinstance(value, str) else value[:20].decode("latin-1")
                if len(value) > len(pixels):
                    pixels = value.encode("latin-1") if isinstance(value, str) else bytes(value)
                    by_columns = flag  # it stands before the bytes, or else in a word after them
                by_columns |= key == "F"
            elif op.name in ("NEWTRUE", "NEWFALSE") or isinstance(value, bool):
                flag = op.name == "NEWTRUE" or value is True
            elif isinstance(value, int) and key == form.key and op.name.startswith(("BININT", "INT", "LONG1")):
                labels.append(value)
    except ValueError as error:
        raise FileUsageError(f"{name} cannot be read, is cut short or lacks pictures: {error}") from None
    if by_columns or not labels or len(pixels) != PIXELS * len(labels):
        raise FileUsageError(
            f"{name} must hold {form.key} and {PIXELS:,} bytes by rows for each, not {len(labels):,}, {len(pixels):,}"
        )
    return torch.tensor(labels), torch.from_numpy(np.frombuffer(pixels, np.uint8).copy()).view(-1, 3, 32, 32)
