"""Files that are there in full or not at all, and that last, once written, through a power cut."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from plastic_envs.utils.errors import FileUsageError, UsageError

guards: list[Callable[[Path], None]] = []
"""Called with every path before anything is written there; who holds a folder refuses by them what became another's."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say a failure to write (full disk, read-only folder) in one sentence."""
    for guard in guards:
        guard(path)
    try:
        yield
    except OSError as error:
        if isinstance(error, UsageError):
            raise
        raise FileUsageError(
            f"cannot write {path}: {error.strerror or error}; what was written before is kept"
        ) from error


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file in one moment: a reader, a crash or a power cut finds the old bytes or the new ones.

    Raises:
        UsageError: the file cannot be written; the old one is as it was.
    """
    temporary = path.with_name(path.name + ".tmp")
    with writing(path):
        try:
            temporary.unlink(missing_ok=True)  # in a folder that was sent, it may be a pipe or a link elsewhere
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def append(path: Path, data: bytes) -> None:
    """Write at the end of a file, made if missing; a crash may leave a part of it.

    Raises:
        UsageError: the file cannot be written.
    """
    with writing(path):
        new = not path.exists()
        with path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if new:
            sync_folder(path.parent)


def remove(*paths: Path) -> None:
    """Delete files of one folder, as far as they are there, for good.

    Raises:
        UsageError: one cannot be deleted.
    """
    found = [path for path in paths if os.path.lexists(path)]
    for path in found:
        with writing(path):
            path.unlink()
    if found:
        with writing(found[0]):
            sync_folder(found[0].parent)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, if missing.

    Raises:
        UsageError: it cannot be made, or its name is none that files of all kinds can have.
    """
    if "\0" in str(folder) or any("\ud800" <= letter <= "\udfff" for letter in str(folder)):  # what was not UTF-8
        raise UsageError(f"the folder's name {str(folder)!r} is not UTF-8: choose another")
    with writing(folder):
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for made in missing:
            sync_folder(made.parent)


def sync_folder(folder: Path) -> None:
    """Make what was made, renamed or deleted in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # of file systems that cannot sync folders
            raise
    finally:
        os.close(descriptor)
