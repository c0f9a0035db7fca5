"""Files read after a look at what they are and how large: a pipe or a device gives no answer, or no end."""

import contextlib
import io
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from plastic_envs.utils.checks import check_memory, in_gb
from plastic_envs.utils.errors import FileUsageError, UsageError, usage_error

JSON_BYTES = 2**25
"""The largest JSON file that is read; in memory, lists of nothing take twenty times as much."""
MOST_ENTRIES = 80_000
"""Of a zip archive that is read, which takes seconds; Omniglot's have some 20,000, and twice as many from a Mac."""


def check_file(path: Path, limit: int | None = None, *, blowup: float = 1.0) -> None:
    """Refuse to read what is no regular file, or is too large.

    Args:
        path: the file.
        limit: the largest size that is read, in bytes.
        blowup: bytes of memory for one of the file, all that its reader makes of it included.

    Raises:
        UsageError: it is missing or no regular file, or is too large.
    """
    with _refusing(path):
        _check(path, os.stat(path), limit, blowup)


@contextlib.contextmanager
def opened(path: Path, limit: int | None = None, *, blowup: float = 1.0) -> Iterator[BinaryIO]:
    """A file to read, which has the size that was looked at; arguments and refusals as in `check_file`.

    What says that it has no bytes is read as having none: some files of the system say so and then wait for ever.
    """
    check_file(path, limit, blowup=blowup)  # first, as a device may do something when it is opened
    with _refusing(path):
        file = open(path, "rb", opener=_at_once)  # noqa: SIM115
    with file:
        status = os.fstat(file.fileno())
        _check(path, status, limit, blowup)  # it may have been replaced meanwhile
        yield file if status.st_size else io.BytesIO()


def read_bytes(path: Path, limit: int | None = None, *, blowup: float = 1.0) -> bytes:
    """The bytes of a file; arguments and refusals as in `check_file`."""
    with opened(path, limit, blowup=blowup) as file, _refusing(path):
        return file.read()


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Say a failure to read in one sentence."""
    try:
        yield
    except (OSError, ValueError) as error:  # the latter of a name with a null character
        if isinstance(error, UsageError):
            raise
        raise usage_error(f"cannot read {path}: {getattr(error, 'strerror', None) or error}", error) from error


def _at_once(path: str, flags: int) -> int:
    """Open without waiting for the other end of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check(path: Path, status: os.stat_result, limit: int | None, blowup: float) -> None:
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(status.st_mode), "a device")
        raise FileUsageError(f"cannot read {path}: it is {kind}, not a file")
    size = status.st_size / 1e9
    if limit is not None and status.st_size > limit:
        raise UsageError(f"cannot read {path}: it has {in_gb(size)}, and at most {in_gb(limit / 1e9)} are read")
    taken = size * blowup
    check_memory(f"cannot read {path}: its {in_gb(size)} would take {in_gb(taken)}", taken, "take another file")


def check_entries(path: Path, archive: bytes) -> None:
    """Refuse a zip archive of too many entries, whatever number of them it declares.

    Raises:
        UsageError: it has more than `MOST_ENTRIES`.
    """
    if (count := archive.count(b"PK\1\2")) > MOST_ENTRIES:  # by which each begins
        raise UsageError(f"cannot read {path}: it holds {count:,} files, and at most {MOST_ENTRIES:,} are read")


def read_text(path: Path, limit: int | None = None, *, blowup: float = 12.0) -> str:
    """The text of a UTF-8 file, as `read_bytes`; its lines end as Python's do.

    Raises:
        UsageError: as `check_file`, or it is not UTF-8.
    """
    try:
        text = read_bytes(path, limit, blowup=blowup).decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is damaged: {error}") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UsageError: the file is missing, too large or damaged.
    """
    try:
        value = json.loads(read_text(path, JSON_BYTES))
    except RecursionError:
        raise UsageError(f"{path} is damaged: it is nested too deeply") from None
    except ValueError as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{path} is damaged: it holds no JSON object")
    return value
