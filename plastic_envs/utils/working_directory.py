"""The working directory may be a folder that one was sent: what lies in it runs only if it was asked for by name."""

import contextlib
import importlib
import os
import pickle
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import FrameType, ModuleType
from typing import Any

from plastic_envs.utils.leaving import is_installed, leaving_refused

_IMPORTLIB = os.path.dirname(importlib.__file__)
SAFE = {"PYTHONSAFEPATH": "1"}
"""What keeps a Python that is started from looking for modules in the working directory first, as `python -c` does."""


own: dict[str, str] = {}
"""The folder in which each module, or package, was found that the user named and that is not installed."""


@leaving_refused()
def import_own(name: str) -> ModuleType:
    """A module that the user named: one that is installed, or else one in the working directory.

    Raises:
        ModuleNotFoundError: there is none, or it needs one that is missing.
        UsageError: it ends the process when it is imported.
    """
    root = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if root in own or not is_module_of(error.name, name):
            raise
    own[root] = os.getcwd()
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    finally:
        if root not in sys.modules:
            del own[root]


class _Finder:
    """Finds the user's own modules, and those beside them that they import themselves, after all that is installed.

    With their folder on the module path, a file there would also stand for what some library would like to have.
    """

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """As Python's import system asks for it; `path` is that of the package around the module, if there is one."""
        if not own or path is not None:
            return None
        folder = own.get(name) or _folder_of_importer()
        return PathFinder.find_spec(name, [folder]) if folder else None


sys.meta_path.append(_Finder)


def _folder_of_importer() -> str | None:
    """The folder of the user's own code that imports something just now; None if other code does."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith((__file__, "<frozen importlib", _IMPORTLIB)):
        frame = frame.f_back
    file = "" if frame is None else frame.f_code.co_filename
    return next((each for each in own.values() if file.startswith(each + os.sep) and not is_installed(file)), None)


def is_module_of(missing: str | None, name: str) -> bool:
    """Whether the module that is missing is the named one or a package around it, not one that it needs."""
    return bool(missing) and f"{name}.".startswith(f"{missing}.")


def is_hidden(name: str) -> bool:
    """Whether the working directory has a module of this name that is not the one that was imported."""
    module, here = sys.modules[name], os.path.join(os.getcwd(), *name.split("."))
    found = os.path.abspath(module.__file__ or "")
    return any(os.path.exists(path) and path != found for path in (f"{here}.py", os.path.join(here, "__init__.py")))


@contextlib.contextmanager
def environment(settings: Mapping[str, str]) -> Generator[None]:
    """Variables of the environment that are as they were afterwards."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class Carried:
    """A value on its way to another process, which finds the modules that it needs after all of its own.

    Args:
        dump: How the value is pickled.
        value: The value, which is what is unpickled too.
    """

    def __init__(self, dump: Callable[[Any], bytes], value: Any) -> None:
        self._dump, self._value = dump, value

    def __reduce__(self) -> tuple[Any, ...]:
        """How to be unpickled."""
        return _arrived, (list(sys.path), own, self._dump(self._value))


def find_too(places: Sequence[str], theirs: Mapping[str, str]) -> None:
    """Look for modules where another process does: in its places, after all others, and for its user's own."""
    sys.path.extend(place for place in places if place not in sys.path)
    own.update(theirs)


def _arrived(places: Sequence[str], theirs: Mapping[str, str], data: bytes) -> Any:
    find_too(places, theirs)
    return pickle.loads(data)


@contextlib.contextmanager
def away_from(settings: str) -> Iterator[None]:
    """Work in another directory for a moment if this one has a file of settings that a library would read."""
    with contextlib.chdir(os.path.dirname(__file__)) if os.path.lexists(settings) else contextlib.nullcontext():
        yield
