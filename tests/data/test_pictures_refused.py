"""Pictures that are refused by their name: without one look, of formats that are not meant, too large, or damaged."""

import subprocess

import numpy as np
import pytest
from PIL import Image

from plastic_envs import UsageError
from plastic_envs.data.pictures import FORMATS, MOST_PIXELS, read_picture
from tests.data.test_pictures import COLOURS, GREY, GREYS, RGB, by_pillow, chunk, png, tiff


def several(form):
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (0, 255)]
    return by_pillow(frames[0], form, save_all=True, append_images=frames[1:])


def cmyk_without_marker():
    content = by_pillow(Image.new("CMYK", (8, 8)), "JPEG")
    start = content.index(b"\xff\xee")
    return content[:start] + content[start + 2 + int.from_bytes(content[start + 2 : start + 4]) :]


REFUSED = {
    "floats": (by_pillow(Image.new("F", (4, 4)), "TIFF"), "pixels of mode 'F'"),
    "floats in a PFM": (b"Pf 2 1 -1.0\n" + np.zeros(2, "<f4").tobytes(), "pixels of mode 'F'"),
    "32 bits": (by_pillow(Image.new("I", (4, 4)), "TIFF"), "pixels of mode 'I'"),
    "16 bits with a sign": (tiff(np.zeros((4, 4), "<i2"), 16, {339: 2}), "pixels of mode 'I'"),
    "8 bits with a sign": (tiff(np.zeros((4, 4), "i1"), 8, {339: 2}), "signed pixels"),
    "LAB": (by_pillow(Image.new("LAB", (4, 4)), "TIFF"), "pixels of mode 'LAB'"),
    "YCbCr": (tiff(COLOURS, 8, {262: 6}), "uncompressed YCbCr"),
    "planes": (tiff(np.zeros((3, 4, 3), "<u2"), 16, {284: 2}), "uncompressed planes"),
    "CMYK": (cmyk_without_marker(), "CMYK without Adobe's marker"),
    "a key": (png(COLOURS.astype(int), RGB, 16, chunk(b"tRNS", bytes(6))), "a transparent colour of 16 bits"),
    "GIF": (several("GIF"), "several pictures"),
    "APNG": (several("PNG"), "several pictures"),
    "WebP": (several("WEBP"), "several pictures"),
    "pages": (several("TIFF"), "several pictures"),
}


@pytest.mark.parametrize(("content", "words"), REFUSED.values(), ids=list(REFUSED))
def test_what_has_no_agreed_look_is_refused(content, words):
    with pytest.raises(UsageError, match=f"^it .*{words}"):
        read_picture(content, "it")


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("form", ["EPS", "TGA", "ICO", "PCX", "JPEG2000", "PDF", "AVIF", "SGI", "DDS"])
def test_other_formats_are_not_opened_whatever_a_file_is_called(form, tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    file = tmp_path / "a.png"
    file.write_bytes(POSTSCRIPT if form == "EPS" else by_pillow(Image.new("RGB", (9, 9)), form))
    with pytest.raises(UsageError, match=r"a\.png cannot be read as a picture: it is none of BMP, GIF, JPEG, PNG"):
        read_picture(file, file)
    assert form not in FORMATS


def test_too_many_pixels_are_refused_before_they_are_read():
    for side in (13_000, 2**31 - 1):
        with pytest.raises(UsageError, match=r"pixels"):
            read_picture(png(GREYS, GREY, 8, size=(side, side)), "it")
    with pytest.raises(UsageError, match=r"13,000×13,000 pixels, which take 0\.68 GB: at most 50,000,000 are read"):
        read_picture(png(GREYS, GREY, 8, size=(13_000, 13_000)), "it")
    with pytest.raises(UsageError, match="60,000×60,000 pixels"):
        read_picture(tiff(GREYS, 8, {322: 60_000, 323: 60_000}), "it")
    assert MOST_PIXELS > 8000 * 6000  # what cameras have


@pytest.mark.parametrize("cut", [0, 8, 20, 40, 60, -40])
def test_a_picture_that_is_cut_short_is_named(cut):
    with pytest.raises(UsageError, match=r"^it cannot be read as a picture: \S") as refused:
        read_picture(png(COLOURS, RGB, 8)[:cut], "it")
    assert "\n" not in str(refused.value)
    assert " at 0x" not in str(refused.value)
