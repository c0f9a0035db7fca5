"""The idx format of the MNIST files: a big-endian header, then bytes; plain or compressed by gzip."""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from plastic_envs.data.archives import reading
from plastic_envs.utils.checks import check_memory, in_gb
from plastic_envs.utils.errors import FileUsageError, UsageError

IMAGES, LABELS = 0x00000803, 0x00000801  # the third byte: unsigned bytes; the fourth: the number of dimensions
MOST_BYTES = 600_000_000  # the largest file of EMNIST has 547 million


def read_idx(path: Path, magic: int) -> Tensor:
    """Read `IMAGES` (N, H, W) or `LABELS` (N,), uint8.

    Raises:
        UsageError: the file cannot be read, is cut short, is another kind of file, or has another length than its
            header says; or that would take too much memory, before it is read.
    """
    with reading(path, MOST_BYTES) as file:
        header = file.read(4 + 4 * (magic & 0xFF))
        if len(header) < 4 + 4 * (magic & 0xFF) or int.from_bytes(header[:4]) != magic:
            what, start = "images" if magic == IMAGES else "labels", header[:4].hex()
            raise FileUsageError(f"{path} is no idx file of {what}: it must begin with {magic:08x}, not {start!r}")
        shape = tuple(np.frombuffer(header[4:], ">u4").tolist())
        size = math.prod(shape)
        if math.prod(max(1, n) for n in shape) > MOST_BYTES:
            most = in_gb(MOST_BYTES / 1e9)
            raise FileUsageError(f"{path} says that its shape is {shape}, {in_gb(size / 1e9)}: at most {most} are read")
        check_memory(f"{path} of the shape {shape} takes {in_gb(9e-9 * size)}", 9e-9 * size, "take a smaller file")
        content = file.read(size + 1)
    if len(content) != size:
        found = f"{len(content):,}" if len(content) < size else "more"
        raise FileUsageError(f"{path} must hold {size:,} bytes for its shape {shape}, not {found}")
    return torch.from_numpy(np.frombuffer(content, np.uint8).copy()).view(shape)


def read_examples(images_path: Path, labels_path: Path, n_classes: int, first_label: int) -> tuple[Tensor, Tensor]:
    """Read a pair of files: images (N, H, W) uint8 and labels (N,), counted from 0.

    Raises:
        UsageError: as `read_idx`, or the two differ in number, or a label is not one of the `n_classes` from
            `first_label` on.
    """
    images, labels = read_idx(images_path, IMAGES), read_idx(labels_path, LABELS).long()
    if len(images) != len(labels):
        raise UsageError(f"{images_path} holds {len(images):,} images, but {labels_path} {len(labels):,} labels")
    if not images.numel():
        raise UsageError(f"{images_path} holds no images")
    low, high = int(labels.min()), int(labels.max())
    if low < first_label or high >= first_label + n_classes:
        allowed = f"from {first_label} to {first_label + n_classes - 1}"
        raise UsageError(f"{labels_path} must hold labels {allowed}, not {low if low < first_label else high}")
    return images, labels - first_label
