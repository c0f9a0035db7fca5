"""`plastic-envs list`."""

import argparse
import inspect
import json
from typing import Any

from plastic_envs.errors import UsageError
from plastic_envs.registry import Registry

TOLD = {"self", "task", "agent", "seed", "searched", "budget", "settings", "own_rate", "image_shape"}
"""Arguments that no spec gives: a command has options of its own for them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="tell all about one of them: options and sources")
    parser.add_argument("--json", action="store_true", help="for programs: {kind: {name: summary}}")


def run(args: argparse.Namespace) -> int:
    """Print every registered name with a line about it, or all about one."""
    from evolution.claims import CLAIMS
    from evolution.presets import PRESETS, describe

    registries = _registries()
    if args.name in PRESETS:
        print(f"{args.name} (preset): {describe(PRESETS[args.name])}")
        return 0
    if args.name is not None:
        found = _having(registries | {"claims": CLAIMS}, args.name)
        print("\n\n".join(_describe(kind, registry, args.name) for kind, registry in found))
        return 0
    names = {kind: {name: row.summary for name, row in registry.items()} for kind, registry in registries.items()}
    names["tasks"]["gym:id"] = "any Gymnasium environment, such as gym:CartPole-v1 or gym:module:id"
    names["presets"] = {name: describe(grids) for name, grids in PRESETS.items()}
    if args.json:
        print(json.dumps(names, indent=2, ensure_ascii=False))
        return 0
    width = max(len(name) for kind in names.values() for name in kind)
    for kind, rows in names.items():
        print(kind)
        for name, summary in rows.items():
            print(f"  {name:<{width}}  {summary}")
    return 0


def _registries() -> dict[str, Registry]:
    from agents import CELLS, FRONT_ENDS, NETWORKS, RULES
    from evolution.registry import SEARCHERS
    from plastic_envs.data import DATA
    from plastic_envs.tasks import TASKS

    return {
        "tasks": TASKS,
        "data sets": DATA,
        "rules": RULES,
        "networks": NETWORKS,
        "cells": CELLS,
        "front ends": FRONT_ENDS,
        "searchers": SEARCHERS,
    }


def _having(registries: dict[str, Registry], name: str) -> list[tuple[str, Registry]]:
    """The tables that have a name.

    Raises:
        UsageError: none has.
    """
    found = [(kind, registry) for kind, registry in registries.items() if name in registry]
    if not found:
        raise UsageError(f"there is nothing called {name!r}: `plastic-envs list` shows all names")
    return found


def _describe(kind: str, registry: Registry, name: str) -> str:
    """What a name stands for: its summary, the options with their defaults, and the documentation."""
    row, found = registry[name], registry.load(name)
    options_class = getattr(found, "Options", None)  # of a network: a dataclass
    parts = [f"{name} ({registry.kind}): {row.summary}"]
    options = _options(options_class or found) | dict(row.options)
    if options:
        parts.append(
            "\n".join(["Options, as in name,option=value:", *(f"  {key} = {options[key]}" for key in options)])
        )
    parts += [inspect.cleandoc(part.__doc__) for part in (found, options_class) if part is not None and part.__doc__]
    return "\n\n".join(parts)


def _options(found: Any) -> dict[str, str]:
    """The keyword arguments of a class or function, with their defaults as they are written."""
    parameters = inspect.signature(found).parameters.values() if callable(found) else ()
    named = [p for p in parameters if p.name not in TOLD and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    return {p.name: "(needed)" if p.default is p.empty else _written(p.default) for p in named}


def _written(value: Any) -> str:
    """A default as a spec has it."""
    return json.dumps(value) if isinstance(value, bool | type(None)) else str(value)
