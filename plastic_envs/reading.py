"""Files read whole, after a look at what they are and how large: a pipe or a device gives no answer, or no end."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from plastic_envs.checks import check_memory, in_gb
from plastic_envs.errors import FileUsageError, UsageError, usage_error

JSON_BYTES = 2**25
"""The largest JSON file that is read; in memory, lists of nothing take twenty times as much."""


def check_file(path: Path, limit: int | None = None, *, blowup: float = 1.0) -> None:
    """Refuse to read what is no regular file, or is too large.

    Args:
        path: the file.
        limit: the largest size that is read, in bytes.
        blowup: bytes of memory for one of the file, all that its reader makes of it included.

    Raises:
        UsageError: it is missing or no regular file, or is too large.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:  # the latter of a name with a null character
        raise usage_error(f"cannot read {path}: {getattr(error, 'strerror', None) or error}", error) from error
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(status.st_mode), "a device")
        raise FileUsageError(f"cannot read {path}: it is {kind}, not a file")
    size = status.st_size / 1e9
    if limit is not None and status.st_size > limit:
        raise UsageError(f"cannot read {path}: it has {in_gb(size)}, and at most {in_gb(limit / 1e9)} are read")
    taken = size * blowup
    check_memory(f"cannot read {path}: its {in_gb(size)} would take {in_gb(taken)}", taken, "take another file")


def read_bytes(path: Path, limit: int | None = None, *, blowup: float = 1.0) -> bytes:
    """The bytes of a file; arguments and refusals as in `check_file`."""
    check_file(path, limit, blowup=blowup)
    try:
        return path.read_bytes()
    except OSError as error:
        raise usage_error(f"cannot read {path}: {error.strerror or error}", error) from error


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
