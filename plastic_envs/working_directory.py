"""The working directory may be a folder that one was sent: what lies in it runs only if it was asked for by name."""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from types import ModuleType

CHILDREN = "PYTHONSAFEPATH"
"""What keeps Python from looking for modules in the working directory first, as `python -c` of a child does."""


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
def safe_children() -> Iterator[None]:
    """Python processes that are started while this lasts do not look for modules in the working directory."""
    before = os.environ.get(CHILDREN)
    os.environ[CHILDREN] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[CHILDREN]
        else:
            os.environ[CHILDREN] = before


@contextlib.contextmanager
def away_from(settings: str) -> Iterator[None]:
    """Work in another directory for a moment if this one has a file of settings that a library would read."""
    with contextlib.chdir(os.path.dirname(__file__)) if os.path.lexists(settings) else contextlib.nullcontext():
        yield
