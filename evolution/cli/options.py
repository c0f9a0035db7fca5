"""Options that commands share; those not given stay unset, so that every default stands in one place."""

import argparse
import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evolution.runs.resumable import marks_in
from evolution.runs.settings import RunSettings
from plastic_envs.utils.checks import shown, whole_number

HELP = {
    "rule": "plasticity rule, with options as in hebbian,rate=0.2",
    "network": "kind of network, with options",
    "cell": "recurrent cell",
    "hidden": "hidden units",
    "searcher": "searcher, with options as in pgpe,popsize=50",
    "budget": "episodes presented to agents",
    "seed": "root of all random streams",
    "eval_episodes": "held-out episodes of an evaluation",
    "evals": "evaluations over the budget",
}


def whole(text: str) -> int:
    """A whole number as people write it: 100000, 100_000 or 1e5."""
    number = whole_number(text)
    if number is None:
        raise argparse.ArgumentTypeError(f"{shown(text)} is no whole number, as 1000 or 1e5 is")
    return number


def add_settings(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add options for fields of the run's settings, in that order, with their defaults in the help."""
    fields = {field.name: field for field in dataclasses.fields(RunSettings)}
    for name in names:
        default, number = fields[name].default, "int" in str(fields[name].type)
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=whole if number else str,
            default=argparse.SUPPRESS,
            metavar="N" if number else "NAME",
            help=f"{HELP[name]} ({'what the rule runs on' if default is None else default})",
        )


def add_searched(parser: argparse.ArgumentParser) -> None:
    """Add --searched."""
    parser.add_argument(
        "--searched",
        nargs="+",
        metavar="PATTERN",
        default=argparse.SUPPRESS,
        help="search only the parameters whose names match, as in '*.plasticity' (*)",
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add --trust."""
    parser.add_argument(
        "--trust",
        nargs="+",
        metavar="MODULE:NAME",
        default=[],
        help="tasks, rules, networks, cells and sources of your own code that the folder may name and import",
    )


def given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those of the named options that were given."""
    return {name: getattr(args, name) for name in names if hasattr(args, name)}


def command_line(command: str, args: argparse.Namespace, *names: str, **others: str) -> str:
    """A command line with those of the named options that were given, a task first, and others in place of theirs."""
    values = {**given(args, *names), **others}
    words = ["plastic-envs", command, *([values.pop("task")] if "task" in values else [])]
    for name, value in values.items():
        if value is not None:
            words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    return shlex.join(words)


def begins_anew(resume: bool, folder: str | Path, what: str) -> str:
    """A line for who asked to go on with what is not there, as scripts do at their first start; else empty."""
    if not resume or marks_in(folder, what):
        return ""
    return f"plastic-envs: there is no {what} in {folder} to go on with, so a new one begins\n"


def report_command(folder: str, trusted: Sequence[str]) -> str:
    """How to draw what is in a folder, which names code of the user's own."""
    return shlex.join(["plastic-envs", "report", folder, *(["--trust", *trusted] if trusted else [])])
