"""Data files that lie, loop or swell end in one sentence and in little memory."""

import contextlib
import gzip
import io
import os
import socket
import tarfile
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
import torch

from plastic_envs import UsageError
from plastic_envs.data import load_data
from plastic_envs.data.omniglot import _arrange
from tests.data.test_data_files import MNIST_FILES, idx, write
from tests.data.test_picture_data import cifar, drawing, omniglot, png

MEGABYTE = 2**20
BATCHES = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]


pytestmark = pytest.mark.usefixtures("only_data_folder")


@contextlib.contextmanager
def refused(words, megabytes=40):
    """A sentence with these words, for which no more memory is taken than so much."""
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match=words) as caught:
            yield
        peak = tracemalloc.get_traced_memory()[1] / MEGABYTE
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert peak < megabytes


def swollen(start, megabytes):
    """A gzip file of some bytes and then so many megabytes of zeros, without its end."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = deflate.compress(start) + deflate.flush(zlib.Z_FULL_FLUSH)
    zeros = deflate.compress(bytes(MEGABYTE)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return head + zeros * megabytes


def header(magic, *shape):
    return magic.to_bytes(4, "big") + np.array(shape, ">u4").tobytes()


HUGE = 2**32 - 1
LIES = {
    "no images of any size": (0, header(0x803, 0, HUGE, HUGE), "says that its shape is"),
    "images of any size": (0, header(0x803, HUGE, HUGE, HUGE), "says that its shape is .* 7.9e.19 GB"),
    "3 GB of images": (0, swollen(header(0x803, 3 * 2**20, 32, 32), 3072), r"3\.2 GB: at most 0\.6 GB are read"),
    "4 GB of labels": (1, header(0x801, HUGE), r"4\.3 GB: at most 0\.6 GB are read"),
    "more than it says": (0, swollen(idx(np.zeros((30, 4, 6))), 3072), r"must hold 720 bytes .* not more"),
    "less than it says": (0, swollen(header(0x803, 30, 4, 6), 0), "cut short"),
    "a header that ends": (0, header(0x803, 30), "must begin with"),
    "a column of images": (0, header(0x803, 30, 0, 6), "holds no images"),
}


@pytest.mark.parametrize(("which", "content", "words"), LIES.values(), ids=list(LIES))
def test_an_idx_file_that_lies_about_its_size(tmp_path, which, content, words):
    write(tmp_path, MNIST_FILES)
    (tmp_path / MNIST_FILES[which]).write_bytes(content)
    with refused(words):
        load_data("mnist")


def sparse(path):
    with path.open("wb") as file:
        file.truncate(3 * 2**30)


def listen(path):
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(os.fspath(path))


OBSTACLES = {
    "pipe": (os.mkfifo, "it is a named pipe, not a file"),
    "socket": (listen, "it is a socket, not a file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "it is a device, not a file"),
    "sparse": (sparse, r"it has 3\.2 GB, and at most"),
    "circle": (lambda path: path.symlink_to(path), "cannot read"),
    "dangling": (lambda path: path.symlink_to("nowhere"), "cannot read"),
}


@pytest.mark.parametrize(("make", "words"), OBSTACLES.values(), ids=list(OBSTACLES))
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mnist", MNIST_FILES[0]),
        ("cifar-10", "cifar-10-binary.tar.gz"),
        ("cifar-100", "cifar-100-python/train"),
        ("omniglot", "images_background.zip"),
    ],
)
def test_what_is_no_ordinary_file(tmp_path, monkeypatch, name, file, make, words):
    write(tmp_path, MNIST_FILES)
    (tmp_path / file).unlink(missing_ok=True)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    monkeypatch.chdir((tmp_path / file).parent)
    make((tmp_path / file) if make is not listen else (tmp_path / file).relative_to((tmp_path / file).parent))
    with refused(words):
        load_data(name)


def tar_of(path, members, mode="w:gz"):
    """A tar archive of (TarInfo, content)."""
    with tarfile.open(path, mode) as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))


def member(name, kind=tarfile.REGTYPE, link="", size=0):
    made = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
    made.type, made.linkname, made.size = kind, link, size
    return made


def links(kind):
    return [(member(f"{name}.bin", kind, f"cifar-10-batches-bin/{name}.bin"), b"") for name in BATCHES]


def forged(size, kind=b"0", name="cifar-10-batches-bin/data_batch_1.bin"):
    """The block before a member of a tar archive; the size as it is written there."""
    block = bytearray(name.encode().ljust(100, b"\0") + bytes(24) + size.ljust(12, b"\0") + bytes(20) + kind).ljust(
        512, b"\0"
    )
    block[148:156] = b"%06o\0 " % (sum(block) + 8 * 32)
    return bytes(block)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_cifar_archive_of_links_to_themselves_and_devices(tmp_path, kind):
    tar_of(tmp_path / "cifar-10-binary.tar.gz", links(kind))
    with refused(r"data_batch_1\.bin must be a file in it, not a link"):
        load_data("cifar-10")


TARS = {
    "3 GB wanted": (forged(b"%o" % (3 * 2**30)), r"holds 3\.2 GB up to .*data_batch_1\.bin: at most 0\.4 GB"),
    "3 GB besides": (forged(b"%o" % (3 * 2**30), name="readme"), r"holds 3\.2 GB up to readme: at most 0\.4 GB"),
    "3 GB of extended header": (forged(b"%o" % (3 * 2**30), b"x"), "holds 3.2 GB"),
    "3 GB of a long name": (forged(b"%o" % (3 * 2**30), b"L"), "holds 3.2 GB"),
    "a size below 0": (forged(b"-1000"), "it is no tar archive"),
    "a size in binary": (forged(b"\xff" * 12), "it is no tar archive"),
    "a size of words": (forged(b"much"), "it is no tar archive"),
    "other bytes": (b"\1" * 512, "it is no tar archive"),
    "half a block": (forged(b"0")[:100], "it is no tar archive"),
    "nothing": (b"", r"lacks data_batch_1\.bin"),
    "a thousand files": (forged(b"0", name="readme") * 1001, "holds more than 1,000 files"),
    "a member that ends early": (forged(b"7000") + bytes(9), r"data_batch_1\.bin ends too early"),
}


@pytest.mark.parametrize(("start", "words"), TARS.values(), ids=list(TARS))
@pytest.mark.parametrize("compress", [False, True])
def test_a_tar_archive_that_lies(tmp_path, start, words, compress):
    content = swollen(start, 100) if compress and len(start) == 512 else gzip.compress(start) if compress else start
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(content)
    with refused(words):
        load_data("cifar-10")


def test_a_cifar_archive_with_more_in_it(tmp_path):
    """Files of systems, long names and folders change nothing; neither does a format without compression."""
    pixels = cifar(tmp_path, "cifar-10")
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz") as archive:
        held = [(entry, archive.extractfile(entry).read()) for entry in archive.getmembers()]
    (tmp_path / "cifar-10-binary.tar.gz").unlink()
    more = [(member("._data_batch_1.bin", size=5), b"apple"), (member("x" * 200, size=3), b"abc")]
    more += [
        (tarfile.TarInfo("__MACOSX/cifar-10-batches-bin/test_batch.bin"), b""),
        (member("sub", tarfile.DIRTYPE), b""),
    ]
    tar_of(tmp_path / "CIFAR-10-binary.tar.gz", [*more, *held, *more], "w")
    assert torch.equal(load_data("cifar-10").features, torch.from_numpy(pixels.reshape(-1, 3072)))


def test_the_end_of_an_archive_is_checked(tmp_path):
    cifar(tmp_path, "cifar-10")
    content = bytearray((tmp_path / "cifar-10-binary.tar.gz").read_bytes())
    content[-6] ^= 1
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(content)
    with refused("cannot be read or is cut short: CRC"):
        load_data("cifar-10")


def zip_of(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_an_omniglot_archive_with_more_in_it(tmp_path):
    omniglot(tmp_path, "images_background", {"Greek": 2, "Korean": 1, "Latin": 1})
    plain = load_data("omniglot")
    with zipfile.ZipFile(tmp_path / "images_background.zip", "a") as archive:
        for name in (
            "__MACOSX/images_background/Greek/character01/._0000_01.png",
            "images_background/.ipynb_checkpoints/character01/0001.png",
            "images_background/Greek/.ipynb_checkpoints/0001.png",
            "images_background/Greek/character01/._0000_01.png",
            "images_background/@eaDir/Greek/0000_01.png",
            "../.././Greek/../x.png",
        ):
            archive.writestr(name, png(drawing(99)))
        archive.writestr("images_background/Greek/character01/Thumbs.db", b"")
        archive.mkdir("images_background/Greek/character03.png")
    _arrange.cache_clear()  # what was read of the archive before
    again = load_data("omniglot")
    assert torch.equal(again.features, plain.features)
    assert again.splits == plain.splits
    (tmp_path / "x").mkdir()
    with zipfile.ZipFile(tmp_path / "images_background.zip") as archive:
        archive.extractall(tmp_path / "x")
    (tmp_path / "images_background.zip").unlink()
    (tmp_path / "x" / "images_background").rename(tmp_path / "images_background")
    unpacked = load_data("omniglot")
    assert torch.equal(unpacked.features, plain.features)
    assert unpacked.splits == plain.splits


INSIDE = "images_background/Greek/character01/0001.png"


def patch_zip(path, place, value):
    """Overwrite two or four bytes of the entry in the archive's directory, and of the member's own header."""
    content = bytearray(path.read_bytes())
    for start, offset in ((content.index(b"PK\1\2"), place), (content.index(b"PK\3\4"), place - 2)):
        content[start + offset : start + offset + len(value)] = value
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (24, (3 * 2**30).to_bytes(4, "little"), r"0001\.png has 3\.2 GB: at most 0\.001 GB are read"),
        (8, b"\1\0", "encrypted, or compressed otherwise"),
        (10, b"\x0c\0", "encrypted, or compressed otherwise"),  # bzip2
        (10, b"\x63\0", "encrypted, or compressed otherwise"),
        (16, b"\0\0\0\0", "Bad CRC-32"),
        (20, b"\5\0\0\0", "cannot be read or is cut short"),
    ],
)
def test_a_zip_archive_that_lies(tmp_path, place, value, words):
    path = tmp_path / "images_background.zip"
    zip_of(path, {INSIDE: png(drawing(1))})
    patch_zip(path, place, value)
    with refused(words):
        load_data("omniglot")


def test_a_zip_archive_of_bombs(tmp_path):
    path = tmp_path / "images_background.zip"
    zip_of(path, {INSIDE: bytes(MEGABYTE + 1)})
    with refused(r"0001\.png has 0\.001 GB"):
        load_data("omniglot")
    zip_of(path, {INSIDE.replace("0001", f"{number:04d}"): bytes(MEGABYTE) for number in range(65)})
    with refused(r"holds 0\.068 GB: at most 0\.067 GB"):
        load_data("omniglot")
    zip_of(path, {INSIDE: bytes(MEGABYTE)})
    patch_zip(path, 24, b"\x10\0\0\0")  # it says that it has 16 bytes
    with refused("cannot be read or is cut short"):
        load_data("omniglot")
    zip_of(path, {INSIDE: png(drawing(1))})
    content = path.read_bytes()
    for cut in (0, 10, 60, len(content) - 30, len(content) - 4):
        path.write_bytes(content[:cut])
        with refused("images_background.zip cannot be read or is cut short"):
            load_data("omniglot")
