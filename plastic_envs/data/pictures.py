"""Reading pictures with Pillow, and reducing them by areas."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from plastic_envs.errors import MissingExtraError, UsageError


def pillow() -> Any:
    """Pillow's module `Image`.

    Raises:
        MissingExtraError: it is absent.
    """
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError("reading pictures", "pictures") from None
    return Image


def read_picture(source: Path | bytes, name: object, grey: bool = False) -> Tensor:
    """One picture as bytes (C, H, W), C = 3, or (H, W) if grey.

    Args:
        source: The file, or its content.
        name: What to call it in an error.
        grey: Whether colours are averaged (by their luminance).

    Raises:
        UsageError: it cannot be read as a picture.
        MissingExtraError: Pillow is absent.
    """
    image = pillow()
    try:
        with image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            values = np.asarray(picture.convert("L" if grey else "RGB"))
    except (OSError, ValueError, SyntaxError, image.DecompressionBombError) as error:
        raise UsageError(f"{name} cannot be read as a picture: {error}") from None
    pixels = torch.from_numpy(values.copy())
    return pixels if grey else pixels.permute(2, 0, 1)


def reduce(pixels: Tensor, size: int) -> Tensor:
    """The central square of pictures (..., H, W) as size × size pixels, each the mean of an area; bytes stay bytes."""
    height, width = pixels.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[..., top : top + side, left : left + side]
    reduced = adaptive_avg_pool2d(square.float().reshape(-1, 1, side, side), size).view(*pixels.shape[:-2], size, size)
    return reduced.round().to(torch.uint8) if pixels.dtype == torch.uint8 else reduced
