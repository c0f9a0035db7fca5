"""A disk that fails: processes killed between two operations on files, errors of the system, power cuts."""

import io
import os
import stat
from pathlib import Path

import pytest

NAMES = ("mkdir", "rename", "replace", "unlink", "remove", "rmdir", "truncate", "fsync")


class Killed(BaseException):
    """The process has ended; whatever it still tries does nothing."""


class _File:
    """A file open for writing, every write of which is an operation that reaches the disk at once."""

    def __init__(self, disk, file):
        self.disk, self.file = disk, file

    def write(self, data):
        if self.disk.strikes():
            self.file.write(data[: len(data) // 2])  # it got as far as this
            self.file.flush()
            self.disk.strike()
        self.file.write(data)
        self.file.flush()
        return len(data)

    def truncate(self, size):
        self.disk.operation()
        return self.file.truncate(size)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)


class Disk:
    """While it is entered, operation number `at` (from 0) and all behind it fail.

    Args:
        at: which; None for none.
        code: with what error of the system; None for a process that is killed there.
        only: the operation alone fails, and none behind it.
    """

    def __init__(self, at=None, code=None, *, only=False):
        self.at, self.code, self.only = at, code, only
        self.count = 0
        self.struck = False

    def strikes(self):
        """Count an operation, and tell whether it fails."""
        here = self.count == self.at if self.only else self.at is not None and self.count >= self.at
        self.count += 1
        return here

    def strike(self):
        self.struck = True
        raise Killed if self.code is None else OSError(self.code, os.strerror(self.code))

    def operation(self):
        if self.strikes():
            self.strike()

    def __enter__(self):
        self.patch = pytest.MonkeyPatch()
        for name in NAMES:
            self.patch.setattr(os, name, self._counted(name, getattr(os, name)))
        opened = io.open

        def open_(path, mode="r", *args, **kwargs):
            if not {"w", "a", "x", "+"} & {*mode}:
                return opened(path, mode, *args, **kwargs)
            self.operation()
            return _File(self, opened(path, mode, *args, **kwargs))

        self.patch.setattr(io, "open", open_)
        self.patch.setattr("builtins.open", open_)
        return self

    def __exit__(self, kind, error, trace):
        self.patch.undo()
        return kind is Killed

    def _counted(self, name, function):
        def call(*args, **kwargs):
            self.operation()
            return function(*args, **kwargs)

        return call


class PowerCut(Disk):
    """A process that is killed, and of whose writes what it has not synced may be lost.

    Args:
        at: the operation.
        root: the folder below which it works, of which everything is there before.
    """

    def __init__(self, at, root):
        super().__init__(at)
        self.root = root
        self.contents, self.entries, self.held = {}, {}, []
        for path in (root, *root.rglob("*")):
            self._keep(path)

    def _counted(self, name, function):
        call = super()._counted(name, function)

        def mkdir(path, *args, **kwargs):
            call(path, *args, **kwargs)
            self.held.append(os.open(path, os.O_RDONLY))
            self.entries[os.stat(path).st_ino] = {}

        def fsync(descriptor):
            call(descriptor)
            self._keep(Path(f"/proc/self/fd/{descriptor}"))

        return {"mkdir": mkdir, "fsync": fsync}.get(name, call)

    def _keep(self, path):
        status = os.stat(path)
        self.held.append(os.open(path, os.O_RDONLY))  # so that its number is not given to another
        if stat.S_ISDIR(status.st_mode):
            self.entries[status.st_ino] = {item.name: item.stat().st_ino for item in path.iterdir()}
        else:
            self.contents[status.st_ino] = path.read_bytes()

    def remains(self, to, *, names):
        """Make a folder with what there is after it.

        Args:
            to: the folder.
            names: whether files that were made, renamed or deleted in folders that were not synced are so
                nevertheless.
        """
        self._rebuild(self.root, os.stat(self.root).st_ino, to, names)
        for descriptor in self.held:
            os.close(descriptor)
        return to

    def _rebuild(self, now, number, to, names):
        if number in self.contents or (names and now.is_file()):
            to.write_bytes(self.contents.get(number, b""))
            return
        if number not in self.entries:
            to.write_bytes(b"")  # a file whose name was synced, and nothing of it
            return
        to.mkdir()
        entries = {item.name: item.stat().st_ino for item in now.iterdir()} if names else self.entries[number]
        for name, inner in entries.items():
            self._rebuild(now / name, inner, to / name, names)


def operations(work):
    """How many operations on files there are in some work."""
    with Disk() as disk:
        work()
    return disk.count
