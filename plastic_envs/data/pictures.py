"""Reading pictures with Pillow as a viewer shows them on a white page, and reducing them by areas."""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from plastic_envs.utils.checks import in_gb
from plastic_envs.utils.errors import MissingExtraError, UsageError
from plastic_envs.utils.reading import opened

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""All that is opened, whatever a file is called: Pillow hands others to programs such as Ghostscript."""
MOST_PIXELS, MOST_BYTES = 50_000_000, 2**29
MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16", "I;16B"}
SPACES = {"GRAY": ("1", "L", "LA"), "RGB": ("RGB", "RGBA", "P", "PA"), "CMYK": ("CMYK",)}
"""Pillow's modes by the colours that a profile is for."""
SCREEN = 2.2  # the power that turns values into light
BITS, PHOTOMETRIC, TILE_WIDTH, TILE_LENGTH, SAMPLE_FORMAT = 258, 262, 322, 323, 339  # tags of TIFF
YCBCR, UNSIGNED = 6, (1,)  # values of PHOTOMETRIC (0 is white at zero) and SAMPLE_FORMAT


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
    """One picture as a viewer shows it on white: bytes (C, H, W), C = 3, or (H, W) if grey.

    It is turned as its file says, what is transparent shows white, and 16-bit values are reduced to 8. The colour
    profile or the gamma in its file is applied; a profile that is damaged or of other colours is left out.

    Args:
        source: The file, or its content.
        name: What to call it in an error.
        grey: Whether colours are averaged (by their luminance).

    Raises:
        UsageError: it cannot be read as a picture of one of `FORMATS`, holds several, has too many pixels, or pixels
            that have no agreed look (floats, or integers of other than 1 to 8, 12 or 16 bits).
        MissingExtraError: Pillow is absent.
    """
    image = pillow()
    stream = io.BytesIO(source) if isinstance(source, bytes) else opened(source, MOST_BYTES)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is told here by a sentence, and of what does not matter
            with stream as file, image.open(file, formats=FORMATS) as picture:
                _check(picture, name)
                values = np.asarray(_on_white(image, picture).convert("L" if grey else "RGB"))
    except UsageError:
        raise
    except image.UnidentifiedImageError:
        raise UsageError(
            f"{name} cannot be read as a picture: it is none of {', '.join(FORMATS)}, or of a rare kind, or damaged"
        ) from None
    except Exception as error:  # Pillow raises whatever a damaged file leads it to
        raise UsageError(f"{name} cannot be read as a picture: {str(error)[:200] or type(error).__name__}") from None
    pixels = torch.from_numpy(values.copy())
    return pixels if grey else pixels.permute(2, 0, 1)


def _check(picture: Any, name: object) -> None:
    """Refuse, by its header, what would take too much memory or does not have one agreed look."""
    tags = getattr(picture, "tag_v2", {})
    (width, height), tile = picture.size, (tags.get(TILE_WIDTH, 0), tags.get(TILE_LENGTH, 0))
    for across, down in ((width, height), tile):
        if across * down > MOST_PIXELS:
            raise UsageError(
                f"{name} has {across:,}×{down:,} pixels, which take {in_gb(4e-9 * across * down)}: "
                f"at most {MOST_PIXELS:,} are read"
            )
    if getattr(picture, "is_animated", False) and picture.format != "MPO":  # whose others are not for a viewer
        raise UsageError(f"{name} holds several pictures (frames or pages): keep one of them")
    if picture.mode not in MODES and (picture.format, picture.mode) != ("PPM", "I"):
        strange = f"pixels of mode {picture.mode!r}"
    elif tags.get(SAMPLE_FORMAT, UNSIGNED)[0] != UNSIGNED[0]:
        strange = "signed pixels"
    elif tags.get(PHOTOMETRIC) == YCBCR and picture.info.get("compression") == "raw":
        strange = "uncompressed YCbCr"
    elif picture.mode == "CMYK" and picture.format in ("JPEG", "MPO") and "adobe" not in picture.info:
        strange = "CMYK without Adobe's marker"
    elif "transparency" in picture.info and _raw_mode(picture) == "RGB;16B":
        strange = "a transparent colour of 16 bits"
    elif len(_raw_mode(picture)) == 1 and max(tags.get(BITS, (8,))) > 8:
        strange = "uncompressed planes of 16 bits"
    else:
        return
    raise UsageError(f"{name} has {strange}, which viewers do not agree on: save it with 8 bits a channel")


def _raw_mode(picture: Any) -> str:
    """What Pillow calls the form of the values in the file."""
    args = picture.tile[0][3] if picture.tile else ""
    return str(args if isinstance(args, str) else args[0] if args else "")


def _on_white(image: Any, picture: Any) -> Any:
    """A picture whose pixels are not read yet, upright and on a white page, in one of several modes without alpha."""
    from PIL import ImageOps

    bits = {"1": 1, "L;2": 2, "L;4": 4}.get(_raw_mode(picture))
    if bits and "transparency" in picture.info:  # a grey value as it is in the file, not as it is read
        picture.info["transparency"] = (picture.info["transparency"] % 2**bits) * 255 // (2**bits - 1)
    # A viewer shows nothing around the first frame of a GIF that does not fill the picture.
    filled = tuple(picture.tile[0][1]) if picture.format == "GIF" else None
    ImageOps.exif_transpose(picture, in_place=True)
    whole = (0, 0, *picture.size)
    box = filled or whole
    info = picture.info
    if picture.mode.startswith("I"):
        return _in_srgb(image.fromarray(_in_8_bits(picture)), info)
    picture = _in_srgb(picture, info)
    if not picture.has_transparency_data and box == whole:
        return picture
    page = image.new("RGBA", picture.size, "white")
    page.alpha_composite(picture.convert("RGBA").crop(box), box[:2])
    return page


def _in_srgb(picture: Any, info: dict[Any, Any]) -> Any:
    """A picture in the colours of screens, by the profile or the gamma that its file says; itself without either."""
    from PIL import ImageCms

    data, gamma = info.get("icc_profile"), info.get("gamma")
    shown: Any
    if data:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
            space = profile.profile.xcolor_space.strip()
            if "sRGB" in ImageCms.getProfileDescription(profile) or picture.mode not in SPACES.get(space, ()):
                return picture
            screen = ImageCms.createProfile("sRGB")
            shown = ImageCms.profileToProfile(_colours(picture), profile, screen, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            return picture
    elif gamma and "srgb" not in info and abs(gamma * SCREEN - 1) > 0.02:
        colours = _colours(picture)
        table = [round(255 * (value / 255) ** (1 / (gamma * SCREEN))) for value in range(256)]
        shown = colours.point(table * len(colours.getbands()))
    else:
        return picture
    if picture.has_transparency_data:
        shown = shown.convert("RGB")
        shown.putalpha(picture.convert("RGBA").getchannel("A"))
    return shown


def _colours(picture: Any) -> Any:
    """A picture without its alpha and its palette."""
    grey = picture.mode in SPACES["GRAY"]
    return picture.convert("L" if grey else "CMYK" if picture.mode == "CMYK" else "RGB")


def _in_8_bits(picture: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Grey values of 12 or 16 bits in 8."""
    tags, values = getattr(picture, "tag_v2", {}), np.asarray(picture).astype(np.uint32)
    top = 2 ** tags.get(BITS, (16,))[0] - 1
    grey = (values * 255 + top // 2) // top
    if tags.get(PHOTOMETRIC) == 0:
        grey = 255 - grey
    return np.where(values == picture.info.get("transparency", -1), 255, grey).astype(np.uint8)


def reduce(pixels: Tensor, size: int) -> Tensor:
    """The central square of pictures (..., H, W) as size × size pixels, each the mean of an area; bytes stay bytes."""
    height, width = pixels.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[..., top : top + side, left : left + side].reshape(-1, 1, side, side)
    planes = [
        adaptive_avg_pool2d(plane.float(), size) for plane in square
    ]  # one by one: each takes four times its bytes
    reduced = torch.stack(planes).view(*pixels.shape[:-2], size, size)
    return reduced.round().to(torch.uint8) if pixels.dtype == torch.uint8 else reduced
