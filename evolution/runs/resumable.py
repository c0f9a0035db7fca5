"""A folder that is begun, gone on with or replaced, by one process at a time."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from plastic_envs.utils.errors import FileUsageError, OccupiedFolderError, UsageError
from plastic_envs.utils.writing import guards, make_folder, writing

if sys.platform != "win32":
    import fcntl

MARKS = {
    "comparison": ("compare.json",),
    "run": ("config.json",),
    "transfer": ("transfer.json",),
    "claim": ("claim.json", "parts/settings.json"),
}
"""What a folder can be, and the files by any of which it is that; the last is written first, and needed to go on."""


def marks_in(folder: str | Path, what: str) -> list[str]:
    """The files here by which the folder is a run, or what else of `MARKS`; none if it is not."""
    return [mark for mark in MARKS[what] if os.path.isfile(os.path.join(folder, mark))]


class ResumableFolder:
    """Where something of `MARKS` is to be written.

    Args:
        path: The folder.
        what: What it is, or is to be.
        resume: Go on with it, or begin it if it is not there.
        overwrite: Replace it; None if that cannot be asked for.

    Raises:
        UsageError: both are asked for.
    """

    def __init__(self, path: str | Path, what: str, *, resume: bool, overwrite: bool | None = None) -> None:
        if resume and overwrite:
            raise UsageError("resume and overwrite exclude each other: say one of them")
        self.path, self.what, self.resume, self.overwrite = Path(path), what, resume, overwrite

    @contextlib.contextmanager
    def held(self) -> Iterator[bool]:
        """Hold the folder, made if missing; gives whether one goes on with what is here, else it is to be replaced.

        An empty folder is removed if the block raises a `UsageError`.

        Raises:
            UsageError: it holds something else, or what cannot be gone on with or replaced; or as `folder_lock`.
        """
        with folder_lock(self.path):
            try:
                yield self._goes_on()
            except UsageError:
                with contextlib.suppress(OSError), writing(self.path):  # not what is not empty, or another's by now
                    self.path.rmdir()
                raise

    def _goes_on(self) -> bool:
        found, last, first = marks_in(self.path, self.what), MARKS[self.what][0], MARKS[self.what][-1]
        begun = self.path / f"{first}.tmp"  # all that is left of a process that was killed as it wrote its first file
        if not found and any(item != begun and item not in begun.parents for item in self.path.rglob("*")):
            none = "not a run folder" if self.what == "run" else f"holds no {self.what}"
            raise OccupiedFolderError(f"{self.path} is not empty and {none} (no {last}): choose another folder")
        resumable = first in found
        if found and not (self.overwrite or (self.resume and resumable)):
            holds = f"already holds a {self.what}" if last in found else f"holds a {self.what} that was broken off"
            ways = ["go on with --resume (resume=True)"] * resumable
            ways += ["replace it with --overwrite (overwrite=True)"] * (self.overwrite is not None)
            raise OccupiedFolderError(f"{self.path} {holds}: {', or '.join([*ways, 'name another folder'][:2])}")
        return self.resume and resumable

    def check_settings(self, found: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
        """Refuse, by a `UsageError`, other settings than those that it was started with."""
        if found != asked:
            then, now = (", ".join(f"{name}={value}" for name, value in each.items()) for each in (found, asked))
            raise UsageError(f"{self.path} was started with {then}: resume it with that, not with {now}")


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
