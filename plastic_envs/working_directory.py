"""The working directory may be a folder that one was sent: what lies in it runs only if it was asked for by name."""

import contextlib
import importlib
import os
import pickle
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

SAFE = {"PYTHONSAFEPATH": "1"}
"""What keeps a Python that is started from looking for modules in the working directory first, as `python -c` does."""


def import_own(name: str) -> ModuleType:
    """A module that the user named: one that is installed, or else one in the working directory.

    Raises:
        ModuleNotFoundError: there is none, or it needs one that is missing.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        here = os.getcwd()
        if not is_module_of(error.name, name) or {"", here} & set(sys.path):
            raise
    sys.path.append(here)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if is_module_of(error.name, name):
            sys.path.remove(here)
        raise


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
        return _arrived, (list(sys.path), self._dump(self._value))


def extend_path(places: Sequence[str]) -> None:
    """Look for modules in these places too, after all others."""
    sys.path.extend(place for place in places if place not in sys.path)


def _arrived(places: Sequence[str], data: bytes) -> Any:
    extend_path(places)
    return pickle.loads(data)


@contextlib.contextmanager
def away_from(settings: str) -> Iterator[None]:
    """Work in another directory for a moment if this one has a file of settings that a library would read."""
    with contextlib.chdir(os.path.dirname(__file__)) if os.path.lexists(settings) else contextlib.nullcontext():
        yield
