"""The idx format of the MNIST files: a big-endian header, then bytes; plain or compressed by gzip."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from plastic_envs.errors import UsageError

IMAGES, LABELS = 0x00000803, 0x00000801  # the third byte: unsigned bytes; the fourth: the number of dimensions


def read_idx(path: Path, magic: int) -> Tensor:
    """Read `IMAGES` (N, H, W) or `LABELS` (N,), uint8.

    Raises:
        UsageError: the file cannot be read, is cut short, is another kind of file, or has another length than its
            header says.
    """
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read or is cut short: {error}") from None
    header_size = 4 + 4 * (magic & 0xFF)
    if len(content) < header_size or int.from_bytes(content[:4]) != magic:
        what = "images" if magic == IMAGES else "labels"
        raise UsageError(f"{path} is no idx file of {what}: it must begin with {magic:08x}, not {content[:4].hex()!r}")
    shape = tuple(np.frombuffer(content[4:header_size], ">u4").tolist())
    values = np.frombuffer(content, np.uint8, offset=header_size)
    if len(values) != math.prod(shape):
        raise UsageError(f"{path} must hold {math.prod(shape):,} bytes for its shape {shape}, not {len(values):,}")
    return torch.from_numpy(values.copy()).view(shape)


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
