"""One process at a time in a folder."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from plastic_envs.utils.errors import FileUsageError, OccupiedFolderError
from plastic_envs.utils.writing import guards, make_folder, writing

if sys.platform != "win32":
    import fcntl


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold a folder, made if missing; the lock goes with the process, however it ends, and leaves no file.

    While it is held, nothing is written into another folder that has taken the place of this one: another process may
    have deleted it and made it again, and hold that.

    Raises:
        UsageError: it is a file, cannot be made, or another process holds it.
    """
    if os.path.exists(folder) and not os.path.isdir(folder):  # which are false where a name is none
        raise OccupiedFolderError(f"{folder} is a file, not a folder")
    make_folder(folder)
    if sys.platform == "win32":  # has no such locks: there nothing is locked
        yield
        return
    with writing(folder):
        handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(folder, handle)
        held, place = os.fstat(handle), Path(os.path.abspath(folder))

        def guard(path: Path) -> None:
            if Path(os.path.abspath(path)).is_relative_to(place) and not _is_at(place, held):
                raise FileUsageError(
                    f"{folder} is no longer the folder that this process works in, which was moved, deleted or "
                    f"replaced meanwhile: {path.name} was not written"
                )

        guards.append(guard)
        try:
            guard(folder)  # it may have been replaced before it was locked
            yield
        finally:
            guards.remove(guard)
    finally:
        os.close(handle)


def _lock(folder: Path, handle: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OccupiedFolderError(
            f"{folder} is in use by another process: wait for it, or name another folder"
        ) from None
    except OSError as error:  # as of network file systems
        logging.getLogger(__name__).warning(
            "%s cannot be locked (%s): let only one process at a time work there", folder, error.strerror
        )


def _is_at(place: Path, held: os.stat_result) -> bool:
    """Whether a folder is still where it was."""
    try:
        return os.path.samestat(os.stat(place), held)
    except OSError:
        return False
