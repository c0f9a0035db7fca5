"""The order of the house: dependencies point one way, and no two modules need each other."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("plastic_envs", "agents", "evolution")  # each may import those before it
COMMAND_LINE = ("plastic_envs.__main__", "evolution.cli")  # `python -m plastic_envs` is the command line


@cache
def modules() -> dict[str, Path]:
    """All modules of the three packages by name."""
    found = {}
    for file in (each for package in PACKAGES for each in (ROOT / package).rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imported(source: str, known: dict[str, Path] | set[str]) -> Iterator[str]:
    """What a module imports of those known: anywhere in it, so late imports and those for types alone count too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if name in known or node.module in known:
                    yield name if name in known else str(node.module)


@cache
def graph() -> dict[str, set[str]]:
    """From each module to those it imports."""
    return {name: set(imported(file.read_text(), modules())) - {name} for name, file in modules().items()}


def test_no_circles_of_imports_not_even_late_ones_or_those_for_types():
    assert len(graph()) > 200
    TopologicalSorter(graph()).prepare()  # raises CycleError, which names the circle


def test_a_hidden_circle_is_found():
    sources = {"a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import b", "b": "def f():\n    import a"}
    found = {name: set(imported(source, set(sources))) for name, source in sources.items()}
    with pytest.raises(CycleError):
        TopologicalSorter(found).prepare()


def test_dependencies_point_from_evolution_to_agents_to_plastic_envs():
    place = {package: number for number, package in enumerate(PACKAGES)}
    upwards = {
        (one, other)
        for one, others in graph().items()
        for other in others
        if place[other.partition(".")[0]] > place[one.partition(".")[0]]
    }
    assert upwards == {COMMAND_LINE}
