"""Pictures of every mode load as a viewer shows them on white.

The files are written here byte by byte, or by Pillow from known values; what is expected is reckoned from the values.
"""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from plastic_envs import UsageError
from plastic_envs.data.pictures import read_picture

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
SAMPLES = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(values, colour, bits, chunks=b"", size=None):
    """A PNG file of values (H, W) or (H, W, samples), as its description has it."""
    values = np.asarray(values)
    rows = values.reshape(len(values), -1)
    shifts = np.arange(bits)[::-1]
    packed = np.packbits((rows[..., None] >> shifts & 1).reshape(len(rows), -1).astype(np.uint8), axis=1)
    content = b"".join(b"\0" + row.tobytes() for row in packed)
    width, height = size or (values.shape[1], len(values))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunks + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


def tiff(values, bits, tags=(), order="<"):
    """An uncompressed TIFF of one strip; `values` is an array; tags: values by their numbers."""
    height, width = values.shape[:2]
    samples = values.shape[2] if values.ndim == 3 else 1
    content = values.tobytes()
    entries = {256: width, 257: height, 258: [bits] * samples, 259: 1, 262: 2 if samples >= 3 else 1, 273: 8,
               277: samples, 278: height, 279: len(content), **dict(tags)}  # fmt: skip
    start = 8 + len(content)
    extra, directory = b"", struct.pack(order + "H", len(entries))
    for tag in sorted(entries):
        given = entries[tag] if isinstance(entries[tag], list) else [entries[tag]]
        packed = struct.pack(f"{order}{len(given)}I", *given)
        if len(packed) > 4:
            where = start + 2 + 12 * len(entries) + 4 + len(extra)
            extra, packed = extra + packed, struct.pack(order + "I", where)
        directory += struct.pack(order + "HHI", tag, 4, len(given)) + packed
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start)
    return head + content + directory + struct.pack(order + "I", 0) + extra


def by_pillow(picture, form, **options):
    content = io.BytesIO()
    picture.save(content, form, **options)
    return content.getvalue()


def on_white(colours, alpha):
    """Colours (..., 3) from 0 to 255 seen on white through an opacity (...) from 0 to 1."""
    return np.asarray(colours) * np.asarray(alpha)[..., None] + 255.0 * (1 - np.asarray(alpha)[..., None])


def check(content, expected, tolerance=1):
    """A picture shows the expected colours (H, W, 3) or greys (H, W), to within rounding."""
    expected = np.asarray(expected, float)
    seen = read_picture(content, "it").permute(1, 2, 0).numpy().astype(float)
    assert np.abs(seen - (expected[..., None] if expected.ndim == 2 else expected)).max() <= tolerance


DRAW = np.random.default_rng(0)
COLOURS = DRAW.integers(0, 256, (5, 7, 3)).astype(np.uint8)
GREYS, ALPHA = DRAW.integers(0, 256, (2, 5, 7)).astype(np.uint8)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("transparent", [False, True])
def test_grey_png_of_every_depth(bits, transparent):
    values = np.arange(35).reshape(5, 7) * 1871 % 2**bits
    shown = values * 255 / (2**bits - 1)
    hidden = values[2, 3]
    if transparent:
        shown = np.where(values == hidden, 255, shown)
    chunks = chunk(b"tRNS", struct.pack(">H", hidden)) if transparent else b""
    check(png(values, GREY, bits, chunks), shown)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("colour", [RGB, GREY_ALPHA, RGBA])
def test_png_with_colours_or_alpha(bits, colour):
    values = DRAW.integers(0, 2**bits, (5, 7, SAMPLES[colour]))
    share = values / (2**bits - 1)
    colours = share[..., :3] if colour in (RGB, RGBA) else share[..., :1].repeat(3, -1)
    alpha = share[..., -1] if colour != RGB else np.ones((5, 7))
    check(png(values, colour, bits), on_white(colours * 255, alpha), 1 if bits == 8 else 2.5)


def test_png_whose_one_colour_is_transparent():
    chunks = chunk(b"tRNS", struct.pack(">HHH", *COLOURS[1, 2]))
    expected = COLOURS.astype(float)
    expected[(COLOURS[1, 2] == COLOURS).all(-1)] = 255
    check(png(COLOURS, RGB, 8, chunks), expected, 0)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("transparent", ["not", "one", "all"])
def test_png_with_a_palette(bits, transparent):
    palette = DRAW.integers(0, 256, (2**bits, 3))
    index = np.arange(35).reshape(5, 7) % 2**bits
    alpha = {"not": np.full(2**bits, 255), "one": np.full(2**bits, 255), "all": DRAW.integers(0, 256, 2**bits)}
    alpha["one"][0] = 0
    chunks = chunk(b"PLTE", palette.astype(np.uint8).tobytes())
    if transparent != "not":
        chunks += chunk(b"tRNS", alpha[transparent].astype(np.uint8).tobytes())
    check(png(index, PALETTE, bits, chunks), on_white(palette[index], alpha[transparent][index] / 255))


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_alpha_in_other_formats(form):
    picture = Image.fromarray(np.dstack([COLOURS, ALPHA]))
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    check(by_pillow(picture, form, **options), on_white(COLOURS, ALPHA / 255))


def test_premultiplied_alpha_of_tiff():
    premultiplied = np.rint(COLOURS * (ALPHA / 255)[..., None]).astype(np.uint8)
    content = tiff(np.dstack([premultiplied, ALPHA]), 8, {338: 1})
    check(content, premultiplied + (255.0 - ALPHA[..., None]), 2)
    check(tiff(np.dstack([COLOURS, ALPHA]), 8, {338: 0}), COLOURS, 0)  # the fourth says nothing


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("inverted", [False, True])
def test_grey_tiff_of_16_bits(order, inverted):
    values = DRAW.integers(0, 2**16, (5, 7))
    expected = values / 257
    content = tiff(values.astype(order + "u2"), 16, {262: 0 if inverted else 1}, order)
    if inverted and order == ">":  # unknown to Pillow
        with pytest.raises(UsageError, match="it cannot be read as a picture"):
            read_picture(content, "it")
    else:
        check(content, 255 - expected if inverted else expected)


def test_grey_tiff_of_12_bits_and_of_8_inverted():
    values = DRAW.integers(0, 2**12, (4, 8))
    packed = np.packbits((values[..., None] >> np.arange(12)[::-1] & 1).reshape(4, -1).astype(np.uint8), axis=1)
    content = tiff(packed, 12, {256: 8})
    check(content, values * 255 / 4095)
    check(tiff(GREYS, 8, {262: 0}), 255.0 - GREYS, 0)


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_16_bits_a_channel(order):
    values = DRAW.integers(0, 2**16, (5, 7, 4))
    share, stored = values / (2**16 - 1), values.astype(order + "u2")
    check(tiff(stored[..., :3], 16, order=order), share[..., :3] * 255)
    check(tiff(stored, 16, {338: 2}, order), on_white(share[..., :3] * 255, share[..., 3]), 2.5)
    check(tiff(stored, 16, {262: 5}, order), 255 * (1 - share[..., :3]) * (1 - share[..., 3:]), 2.5)


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_with_a_palette_and_in_planes(order):
    palette = DRAW.integers(0, 256, (256, 3))
    check(tiff(GREYS, 8, {262: 3, 320: [int(value) * 257 for value in palette.T.ravel()]}, order), palette[GREYS], 0)
    planes = np.moveaxis(COLOURS, 2, 0).reshape(15, 7)
    tags = {257: 5, 258: [8] * 3, 262: 2, 277: 3, 284: 2, 278: 5, 273: [8, 43, 78], 279: [35] * 3}
    check(tiff(planes, 8, tags, order), COLOURS, 0)


@pytest.mark.parametrize("top", [1, 7, 255, 1000, 65535])
@pytest.mark.parametrize("plain", [False, True])
def test_pgm_of_every_depth(top, plain):
    values = DRAW.integers(0, top + 1, (5, 7))
    binary = values.astype(">u2" if top > 255 else np.uint8).tobytes()
    body = " ".join(map(str, values.ravel())).encode() if plain else binary
    check(b"P%d 7 5 %d\n" % (2 if plain else 5, top) + body, values * 255 / top)


def test_ppm_of_16_bits():
    values = DRAW.integers(0, 2**16, (5, 7, 3))
    check(b"P6 7 5 65535\n" + values.astype(">u2").tobytes(), values / 257)


def test_bits_of_a_pbm_are_ink():
    bits = np.unpackbits(np.array([[0b10110000], [0b01010000]], np.uint8), axis=1)[:, :4]
    check(b"P4 4 2\n\xb0\x50", 255 * (1 - bits), 0)


@pytest.mark.parametrize("form", ["TIFF", "JPEG"])
def test_cmyk(form):
    inks = np.full((16, 16, 4), (200, 40, 10, 60), np.uint8)  # of one colour, so that JPEG keeps it
    expected = [255 * (1 - ink / 255) * (1 - 60 / 255) for ink in (200, 40, 10)]
    content = by_pillow(
        Image.frombytes("CMYK", (16, 16), inks.tobytes()), form, **({"quality": 100} if form == "JPEG" else {})
    )
    check(content, np.full((16, 16, 3), expected), 3)


def turned(pixels, orientation):
    """What a viewer makes of stored pixels (H, W, …): the EXIF standard's eight ways."""
    by_rows = {1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1]}
    if orientation <= 4:
        return by_rows[orientation]
    across = pixels.swapaxes(0, 1)
    return {5: across, 6: across[:, ::-1], 7: across[::-1, ::-1], 8: across[::-1]}[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "TIFF compressed"])
def test_orientation(orientation, form):
    blocks = COLOURS[:3, :4].repeat(16, 0).repeat(16, 1)  # blocks of one colour, so that JPEG keeps them
    exif = Image.Exif()
    exif[0x0112] = orientation
    form, *compressed = form.split()
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}, "PNG": {}, "TIFF": {}}[form]
    options |= {"compression": "tiff_lzw"} if compressed else {}
    content = by_pillow(Image.fromarray(blocks), form, exif=exif, **options)
    check(content, turned(blocks, orientation), 6 if form == "JPEG" else 0)


def test_orientation_of_a_grey_picture_of_16_bits():
    values = DRAW.integers(0, 2**16, (5, 7))
    exif = Image.Exif()
    exif[0x0112] = 6
    content = by_pillow(Image.fromarray(values.astype(np.uint16)), "PNG", exif=exif)
    check(content, turned(values / 257, 6))


def test_gif_with_and_without_transparency():
    palette = DRAW.integers(0, 256, (256, 3))
    index = GREYS % 16
    picture = Image.frombytes("P", (7, 5), index.tobytes())
    picture.putpalette(palette.astype(np.uint8).tobytes())
    check(by_pillow(picture, "GIF"), palette[index], 0)
    check(by_pillow(picture, "GIF", transparency=int(index[0, 0])), on_white(palette[index], index != index[0, 0]), 0)


def test_a_gif_that_does_not_fill_its_picture():
    """One red pixel in the middle of 3×3: what is around it shows the page."""
    header = b"GIF89a" + struct.pack("<HHBBB", 3, 3, 0x80, 0, 0) + bytes([255, 0, 0, 0, 0, 255])
    frame = b"," + struct.pack("<HHHHB", 1, 1, 1, 1, 0) + bytes([2, 2, 0x44, 0x01, 0])
    expected = np.full((3, 3, 3), 255)
    expected[1, 1] = (255, 0, 0)
    check(header + frame + b";", expected, 0)


def test_the_second_picture_of_a_stereo_camera_is_left_out():
    first, second = (Image.fromarray(np.full((16, 16, 3), value, np.uint8)) for value in (40, 200))
    content = io.BytesIO()
    first.save(content, "MPO", save_all=True, append_images=[second])
    check(content.getvalue(), np.full((16, 16), 40), 2)


def test_grey_is_the_luminance_on_white():
    picture = Image.fromarray(np.dstack([COLOURS, ALPHA]))
    expected = on_white(COLOURS, ALPHA / 255) @ [0.299, 0.587, 0.114]
    seen = read_picture(by_pillow(picture, "PNG"), "it", grey=True)
    assert seen.shape == (5, 7)
    assert np.abs(seen.numpy() - expected).max() <= 1.5
    plain = by_pillow(Image.fromarray(GREYS), "PNG")
    assert torch.equal(read_picture(plain, "it", grey=True), torch.from_numpy(GREYS.copy()))


def profile(space, gamma, primaries=("r", "g", "b")):
    """A colour profile with the gamma, of greys or of the colours of sRGB, in whose places others may stand."""

    def number(value):
        return struct.pack(">i", round(value * 65536))

    def xyz(*values):
        return b"XYZ \0\0\0\0" + b"".join(map(number, values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    of = {"r": (0.4361, 0.2225, 0.0139), "g": (0.3851, 0.7169, 0.0971), "b": (0.1431, 0.0606, 0.7141)}
    name = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"mine\0" + bytes(78) + b"\0"
    tags = {b"desc": name, b"cprt": b"text\0\0\0\0none\0\0\0\0", b"wtpt": xyz(0.9642, 1, 0.8249)}
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        for place, primary in zip("rgb", primaries, strict=True):
            tags |= {f"{place}XYZ".encode(): xyz(*of[primary]), f"{place}TRC".encode(): curve}
    table, content, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for tag, value in tags.items():
        table += tag + struct.pack(">II", start + len(content), len(value))
        content += value + bytes(-len(value) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(content), b"lcms", 0x02100000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    head += b"".join(map(number, (0.9642, 1, 0.8249)))
    return head + bytes(128 - len(head)) + table + content


def screen(light):
    """The values of sRGB (0 to 255) for light from 0 to 1."""
    light = np.asarray(light)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


RAMP = np.arange(0, 256, 5, dtype=np.uint8)[None]
SWAPPED = profile(b"RGB ", 2.2, ("g", "b", "r"))  # red is where green is


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF"])
def test_grey_profiles_are_applied(form):
    options = {"quality": 100} if form == "JPEG" else {}
    content = by_pillow(Image.fromarray(RAMP), form, icc_profile=profile(b"GRAY", 1.5), **options)
    check(content, screen((RAMP / 255.0) ** 1.5), tolerance=2)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colour_profiles_are_applied(form, mode):
    picture = Image.new("RGB", (4, 4), (255, 0, 0)).convert(mode)
    options = {"lossless": True} if form == "WEBP" else {}
    content = by_pillow(picture, form, icc_profile=SWAPPED, **options)
    check(content, np.broadcast_to([0, 255, 0], (4, 4, 3)), tolerance=3)


def test_profiles_leave_opacity_alone():
    values = np.zeros((1, 3, 4), np.uint8)
    values[0, :, 0], values[0, :, 3] = 255, (0, 128, 255)
    shown = on_white([[[0, 255, 0]] * 3], values[..., 3] / 255)
    check(by_pillow(Image.fromarray(values), "PNG", icc_profile=SWAPPED), shown, tolerance=3)


def test_16_bit_greys_have_profiles_too():
    wide = RAMP.astype(np.uint16) * 257
    content = by_pillow(Image.fromarray(wide), "TIFF", icc_profile=profile(b"GRAY", 1.5))
    check(content, screen((RAMP / 255.0) ** 1.5), tolerance=2)


@pytest.mark.parametrize("data", [b"no profile", SWAPPED[:200], profile(b"GRAY", 1.0)], ids=["none", "cut", "of greys"])
def test_profiles_that_do_not_fit_are_left_out(data):
    check(
        by_pillow(Image.new("RGB", (4, 4), (200, 10, 30)), "PNG", icc_profile=data), np.full((4, 4, 3), (200, 10, 30))
    )


@pytest.mark.parametrize(("colour", "bits"), [(GREY, 8), (GREY, 16), (RGB, 8)])
def test_the_gamma_of_a_png_is_applied_unless_it_says_srgb(colour, bits):
    values = RAMP.astype(np.int64) * (257 if bits == 16 else 1)
    values = values if colour == GREY else np.repeat(values[..., None], 3, -1)
    linear, srgb = chunk(b"gAMA", struct.pack(">I", 100000)), chunk(b"sRGB", b"\0")
    plain = values / (257 if bits == 16 else 1)
    check(png(values, colour, bits, linear), 255 * (plain / 255) ** (1 / 2.2))
    check(png(values, colour, bits, srgb + linear), plain)
    check(png(values, colour, bits, chunk(b"gAMA", struct.pack(">I", 45455))), plain)
