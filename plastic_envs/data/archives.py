"""Files out of archives, read in one pass and never more of them than is meant."""

import gzip
import io
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from plastic_envs.data.files import is_system
from plastic_envs.utils.checks import in_gb
from plastic_envs.utils.errors import FileUsageError
from plastic_envs.utils.reading import check_entries, opened, read_bytes

BLOCK, MOST_MEMBERS = 512, 1000  # of a tar archive


@contextmanager
def reading(path: Path, limit: int) -> Iterator[BinaryIO | gzip.GzipFile]:
    """A file, decompressed if it is compressed by gzip; what goes wrong while it is read becomes a sentence.

    Args:
        path: the file.
        limit: the largest size of the file as it is, in bytes; what it is decompressed to is for the reader to limit.

    Raises:
        FileUsageError: it is no regular file, is too large, is cut short or damaged.
    """
    try:
        with opened(path, limit) as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if compressed:
                with gzip.open(raw) as file:
                    yield file
            else:
                yield raw
    except FileUsageError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        raise FileUsageError(f"{path} cannot be read or is cut short: {str(error)[:200]}") from None


def read_tar(path: Path, names: Collection[str], limit: int) -> dict[str, bytes]:
    """The files of some names in a tar archive, in whatever folders of it they are.

    Python's `tarfile` is not used: it follows links in circles, and reads extended headers of any size.

    Raises:
        FileUsageError: it cannot be read, is damaged, lacks one of the files, or holds more than `limit` bytes.
    """
    found: dict[str, bytes] = {}
    taken = count = 0
    with reading(path, limit) as file:
        while any(header := file.read(BLOCK)):
            name, size, kind = _parse(path, header)
            taken, count = taken + BLOCK + size, count + 1
            if count > MOST_MEMBERS:
                raise FileUsageError(f"{path} holds more than {MOST_MEMBERS:,} files, and is not what it is called")
            if taken > limit:
                raise FileUsageError(f"{path} holds {in_gb(taken / 1e9)} up to {name}: {_most(limit)}")
            *folders, last = name.split("/")
            wanted = last in names and not any(map(is_system, folders))
            if wanted and kind not in b"0\0":
                raise FileUsageError(f"{path}: {name} must be a file in it, not a link or the like")
            content = file.read(size) if wanted else b""
            if wanted:
                found[last] = content
            skipped = _skip(file, size - len(content) + -size % BLOCK)
            if len(content) + skipped < size:
                raise FileUsageError(f"{path} cannot be read, is cut short or lacks files: {name} ends too early")
        _skip(file, limit - taken)  # at the end is the checksum of gzip
    missing = [name for name in names if name not in found]
    if missing:
        raise FileUsageError(f"{path} cannot be read, is cut short or lacks {missing[0]}")
    return found


def _parse(path: Path, header: bytes) -> tuple[str, int, bytes]:
    """The name, size and kind of a member of a tar archive."""
    fields = [header[start:end].split(b"\0")[0].strip() for start, end in ((0, 100), (124, 136), (148, 156))]
    try:
        size, checksum = (int(field, 8) for field in fields[1:])
    except ValueError:  # also where a size has more digits than the field
        size = checksum = -1
    if checksum != sum(header[:148]) + 8 * ord(" ") + sum(header[156:]) or size < 0:
        raise FileUsageError(
            f"{path} cannot be read, is cut short or lacks files: it is no tar archive, compressed by gzip or not"
        )
    return fields[0].decode("utf-8", "replace").removeprefix("./"), size, header[156:157]


def _skip(file: BinaryIO | gzip.GzipFile, n: int) -> int:
    """Read n bytes, or up to the end, and forget them: how many there were."""
    left = n
    while left > 0 and (read := len(file.read(min(left, 2**20)))):
        left -= read
    return n - left


def read_zip(path: Path, suffix: str, each: int, limit: int) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files in a zip archive whose names end so, in order; hidden and system files are not.

    Raises:
        FileUsageError: it cannot be read, is damaged, or a file is encrypted or larger than `each` bytes, or all
            together than `limit`.
    """
    content = read_bytes(path, limit)
    check_entries(path, content)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            found = {info.filename: info for info in archive.infolist() if info.filename.lower().endswith(suffix)}
            members = {name: found[name] for name in sorted(found) if not any(map(is_system, name.split("/")))}
            total = sum(info.file_size for info in members.values())
            for name, info in members.items():
                if info.file_size > each:
                    raise FileUsageError(f"{path}: {name} has {in_gb(info.file_size / 1e9)}: {_most(each)}")
                if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise FileUsageError(f"{path}: {name} is encrypted, or compressed otherwise than by deflate")
            if total > limit:
                raise FileUsageError(f"{path} holds {in_gb(total / 1e9)}: {_most(limit)}")
            for name, info in members.items():
                yield name, archive.read(info)
    except FileUsageError:
        raise
    except Exception as error:  # zipfile raises whatever a damaged file leads it to
        raise FileUsageError(
            f"{path} cannot be read or is cut short: {str(error)[:200] or type(error).__name__}"
        ) from None


def _most(limit: int) -> str:
    return f"at most {in_gb(limit / 1e9)} are read"
