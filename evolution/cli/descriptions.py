"""All about one name, for `plastic-envs list NAME`: what it is, its options, its source."""

import dataclasses
import inspect
import textwrap
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import gymnasium
from torch import nn

from agents import CELLS, FRONT_ENDS, NETWORKS, RULES
from agents.agent import Agent
from agents.networks import networks_with
from agents.networks.cells import Cell
from agents.rules import Rule
from evolution.claims import CLAIMS
from evolution.cli.documentation import options, prose, written
from evolution.evaluation.references import explain_all
from evolution.experiments.presets import PRESETS
from evolution.experiments.presets import describe as describe_preset
from evolution.runs.progress import counted
from evolution.searchers.base import Searcher
from evolution.searchers.table import SEARCHERS
from plastic_envs.core.task import Task
from plastic_envs.core.world_task import WorldTask
from plastic_envs.data import DATA
from plastic_envs.external.task import PREFIX, ExternalTask, environment_named
from plastic_envs.tasks import TASKS, make_task
from plastic_envs.utils.checks import nearest, shown
from plastic_envs.utils.errors import UnknownNameError
from plastic_envs.utils.registry import Registry, load_object, parse_spec
from plastic_envs.worlds import WORLDS

REGISTRIES: Mapping[str, Registry] = {
    "tasks": TASKS,
    "worlds": WORLDS,
    "data sets": DATA,
    "rules": RULES,
    "networks": NETWORKS,
    "cells": CELLS,
    "front ends": FRONT_ENDS,
    "searchers": SEARCHERS,
}

TOLD: Mapping[str, set[str]] = {
    "rule": {"shapes", "rounds", "own_rate", "width"},  # by the network, or by the rule's row
    "front end": {"image_shape"},
    "searcher": {"task", "agent", "searched", "budget"},
    "claim": {"settings"},
    "environment": {"render_mode"},
}
"""Arguments that no spec gives, by kind: others do, or a command has options of its own for them, as for `seed`."""

_BASES = {
    "world": WorldTask,
    "task": Task,
    "rule": Rule,
    "network": Agent,
    "searcher": Searcher,
    "cell": Cell,
    "front end": nn.Module,
}
_WIDTH = 100


def describe(name: str) -> str:
    """What a name stands for: one of a table, a preset, `gym:id`, or `module:Name` from the user's code.

    Raises:
        UsageError: there is nothing of this name, or it cannot be imported.
    """
    if name in PRESETS:
        return _preset(name)
    if name.startswith(PREFIX):
        return _environment(name)
    if ":" in name:
        return _own(name)
    name = next((now for one in REGISTRIES.values() if (now := one.current(name)) != name), name)
    found = [registry for registry in (*REGISTRIES.values(), CLAIMS) if name in registry]
    if not found:
        known = [*PRESETS, *(each for registry in (*REGISTRIES.values(), CLAIMS) for each in registry)]
        hint = f"did you mean {near!r}? (" if (near := nearest(name, known) or environment_named(name)) else ""
        raise UnknownNameError(
            f"there is nothing called {shown(name)}: {hint}`plastic-envs list` shows all names{')' * bool(near)}"
        )
    parts = [_entry(one.kind, name, one[name].summary, one.load(name), one[name].options) for one in found]
    return "\n\n".join([*parts, *([_references(name)] if name in TASKS or name in WORLDS else [])])


def _references(name: str) -> str:
    """What a task's scores stand beside."""
    lines = [f"  {what}: {said}" for what, said in explain_all(make_task(name)).items()]
    return "\n".join(["References, printed beside every score:", *lines])


def _entry(kind: str, name: str, summary: str, found: Any, fixed: Mapping[str, Any] = MappingProxyType({})) -> str:
    """Summary, documentation, and options; `fixed` are those that a table's row sets."""
    options_class = getattr(found, "Options", None)  # of a network: a dataclass
    parts = [
        f"{name} ({kind}): {summary}",
        prose(found),
        _networks(found) if kind == "rule" else "",
        prose(options_class) if options_class else "",
        _options(options_class or found, TOLD.get(kind, set()) | {"self", "seed"}, fixed),
    ]
    return "\n\n".join(filter(None, parts))


def _options(found: Any, told: set[str], fixed: Mapping[str, Any]) -> str:
    """A line for each option with its default and what else it may be, and below it what it does."""
    known = options(found)
    lines = []
    for name in [name for name in {**known, **fixed} if name not in told]:
        default, choices, text = known.get(name, ("", (), ""))
        line = f"  {name} = {written(fixed[name]) if name in fixed else default}"
        lines.append(line + (f"  (one of {', '.join(choices)})" if choices else ""))
        lines += textwrap.wrap(text, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(["Options, as in name,option=value:", *lines]) if lines else ""


def _networks(rule: type[Rule]) -> str:
    """The networks that have the signals a rule needs."""
    names = list(networks_with(rule.needs))
    if not names:
        return f"Networks: none of the package, as none has all of {', '.join(sorted(rule.needs))}"
    return f"Networks: {names[0]} by default" + (f", or {', '.join(names[1:])}" if names[1:] else "")


def _preset(name: str) -> str:
    """What is run, grid by grid, in the words of `plastic-envs compare`."""
    parts = [f"{name} (preset): {describe_preset(PRESETS[name])}"]
    for grid in PRESETS[name]:
        given = {field.name: getattr(grid, field.name) for field in dataclasses.fields(grid)}
        listed = {
            key: value if isinstance(value, tuple) else (value,)
            for key, value in given.items()
            if value not in (None, ())
        }
        parts.append(
            "\n".join(
                f"  {key} = {' '.join(map(written, value))}"
                for key, value in listed.items()
                if value not in ((None,), ())
            )
        )
    return "\n\n".join(parts)


def _environment(name: str) -> str:
    """A task of Gymnasium's: its sizes, then the environment's own documentation and options."""
    task = make_task(name)
    environment_id = parse_spec(name)[0].removeprefix(PREFIX)
    environment = gymnasium.make(environment_id)
    kind = type(environment.unwrapped)
    fixed = environment.spec.kwargs if environment.spec else {}
    environment.close()
    seen, steps = counted(task.observation_size, "number"), counted(task.horizon, "step")
    actions = "one of " * (task.action_kind == "discrete") + counted(task.output_size, "action")
    summary = f"observations of {seen}, {actions}, at most {steps}; reward alone"
    return "\n\n".join(
        [
            _entry("task", name, summary, ExternalTask),
            _entry("environment", environment_id, "Gymnasium's own, whose options the task takes too", kind, fixed),
        ]
    )


def _own(name: str) -> str:
    """What the user's code calls so: a kind of the package by its base class, or any other."""
    found = load_object(name, "name")
    kinds = [kind for kind, base in _BASES.items() if inspect.isclass(found) and issubclass(found, base)]
    return _entry(kinds[0] if kinds else type(found).__name__, name, "from the user's code", found)
