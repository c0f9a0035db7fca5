"""One process at a time in a folder."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from evolution.checkpoint import writing
from plastic_envs.errors import OccupiedFolderError, UsageError

if sys.platform != "win32":
    import fcntl


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold a folder, made if missing; the lock goes with the process, however it ends, and leaves no file.

    Raises:
        UsageError: it is a file, cannot be made, or another process holds it.
    """
    if folder.exists() and not folder.is_dir():
        raise OccupiedFolderError(f"{folder} is a file, not a folder")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":  # has no such locks: there nothing is locked
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{folder} is in use by another process: wait for it, or name another folder") from None
        yield
    finally:
        os.close(handle)
