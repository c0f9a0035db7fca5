"""Which code a run was made with: the package's commit or version, and a hash of the user's own files."""

import hashlib
import importlib.metadata
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from evolution.runs.settings import RunSettings
from plastic_envs.external.task import without_prefix
from plastic_envs.utils.checks import MOST_SHOWN
from plastic_envs.utils.leaving import is_installed
from plastic_envs.utils.registry import load_object, own_code, texts

PACKAGE = "plastic-envs"
GIT_SECONDS = 10.0
PACKAGES = ("plastic-envs", "torch", "numpy", "gymnasium", "scikit-learn", "evotorch", "ray", "stable-baselines3")


def code_used(settings: RunSettings) -> dict[str, str]:
    """The package's commit (its version where it is no clone), and a hash of each file of one's own.

    It stands by `module:Name` where the settings name it, and by the module's name where those take something from it.
    Call it when what the settings name has been made: only modules that are loaded are looked at.
    """
    names = own_names(settings)
    named = {name: name.partition(":")[0] for name in names}
    taken = {name: name for name in sorted(_taken(named.values()) - {*named.values()})}
    return {PACKAGE: package_code(), **{name: _hash(module) for name, module in {**named, **taken}.items()}}


def _taken(names: Iterable[str]) -> set[str]:
    """These modules and those of the user's that they take something from, and so on."""
    found: set[str] = set()
    waiting = [*names]
    while waiting:
        name = waiting.pop()
        file = getattr(sys.modules.get(name), "__file__", None)
        if name not in found and file is not None and not is_installed(file):
            found.add(name)
            for value in vars(sys.modules[name]).values():
                if isinstance(value, ModuleType):
                    waiting.append(value.__name__)
                elif isinstance(value, type | FunctionType):
                    waiting.append(value.__module__)
    return found


def own_names(settings: RunSettings) -> list[str]:
    """Every `module:Name` in the settings."""
    specs = (without_prefix(settings.task), settings.rule, settings.network, settings.cell, settings.searcher)
    inner = texts(dict(settings.agent_options))
    return sorted({name for spec in (*specs, *inner) if spec is not None for name in own_code(spec)})


def differences(recorded: Mapping[str, Any], settings: RunSettings) -> Iterator[str]:
    """A sentence on each part of the code that is not what a run's config.json recorded, if it recorded any."""
    made = recorded.get("code")
    if not isinstance(made, Mapping):
        return
    for name in own_names(settings):
        load_object(name, "code")  # what was not loaded has no hash
    for name, now in code_used(settings).items():
        before = made.get(name)
        if isinstance(before, str) and before != now:
            yield f"{name} was {before[:MOST_SHOWN]} when the run began and is {now} now: numbers may differ"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a run's numbers, as far as they are installed."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def package_code() -> str:
    """As in "commit 1a2b3c", with "+dirty" where files differ from it; or "version 0.1.0"."""
    root = Path(__file__).resolve().parents[2]
    if (root / ".git").exists() and (commit := _git(root, "rev-parse", "HEAD")):
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
        return f"commit {commit}{'+dirty' if changed else ''}"
    try:
        return f"version {importlib.metadata.version(PACKAGE)}"
    except importlib.metadata.PackageNotFoundError:
        return "version unknown"


def _git(root: Path, *words: str) -> str:
    """What git prints; empty where it fails or is not installed."""
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, timeout=GIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _hash(module: str) -> str:
    """Of the file of a module; "unknown" if it has none."""
    file = getattr(sys.modules.get(module), "__file__", None)
    try:
        return f"sha256 {hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]}" if file else "unknown"
    except OSError:
        return "unknown"
