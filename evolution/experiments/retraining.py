"""Learned rules put to work elsewhere: rules × networks × tasks, with intervals over retrainings."""

import csv
import io
import itertools
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import agents
from agents import Agent, rollout
from agents.factory import current_network
from agents.saving import digest, settings_saved
from evolution.evaluation.evaluate import reference_scores
from evolution.evaluation.statistics import Interval, mean_interval
from evolution.reports.tables import MISSING, aligned, format_interval, format_number
from evolution.runs.resumable import ResumableFolder
from evolution.runs.run_folder import load_agent
from evolution.seeding import make_generator
from plastic_envs.core.task import Task
from plastic_envs.tasks import make_task
from plastic_envs.utils.checks import check_int
from plastic_envs.utils.errors import UnknownNameError, UsageError
from plastic_envs.utils.reading import read_json
from plastic_envs.utils.registry import parse_spec
from plastic_envs.utils.writing import write_atomically

INDEX = "transfer.json"
COLUMNS = ("rule", "network", "task", "retraining", "metric")


@dataclass(frozen=True)
class Transfer:
    """How networks trained by one rule did on one task.

    Attributes:
        rule: The folder's name, or the rule's spec.
        network: Options of the networks; "" for those that the rule was learned on.
        task: Spec of the task.
        scores: The task's metric of each retraining, a network born anew that saw other examples.
        references: The metric of the task's reference predictors or policies, mean over the same episodes.
        reason: Why there are none, where the rule's network cannot live in the task.
    """

    rule: str
    network: str
    task: str
    scores: tuple[float, ...] = ()
    references: Mapping[str, float] | None = None
    reason: str = ""

    @property
    def interval(self) -> Interval:
        """Student-t over retrainings."""
        return mean_interval(self.scores)


def transfer(
    rules: Sequence[str | Path],
    tasks: Sequence[str],
    out: str | Path,
    *,
    networks: Sequence[str] = (),
    retrainings: int = 10,
    seed: int = 0,
    resume: bool = False,
    trust: Collection[str] = (),
) -> list[Transfer]:
    """Train new networks with learned rules on the held-out part of tasks, and tell how well they do.

    Nothing is searched: each retraining is one lifetime of a network born anew. Below `out`: `transfer.json`,
    `transfer.csv` (a row per retraining) and `table.md`; each is written whenever a cell is done.

    Args:
        rules: Folders of runs or agents; or the spec of a rule, which then has the coefficients it starts with.
        tasks: Specs of tasks, as in "OnlineClassification,source=mnist,n_train=10000,n_query=10000".
        out: A new folder, or with `resume` one that was begun.
        networks: What is to differ from the networks that the rules were learned on, as in "kwta,hidden=1000".
        retrainings: Networks trained for each cell.
        seed: Decides births and examples; the same ones for all rules on networks of one size.
        resume: Leave out the cells that are there already.
        trust: Names `module:Name` of your own code that a folder may name.

    Raises:
        UsageError: a name, an option or a folder is not what it should be.
    """
    retrainings = check_int("retrainings", retrainings, low=1)
    seed = check_int("seed", seed, low=0)
    for name, values in (("rules", rules), ("tasks", tasks)):
        if not values:
            raise UsageError(f"{name} is empty: name at least one")
    folder = ResumableFolder(out, "transfer", resume=resume)
    networks = [current_network(network) for network in networks]
    made = {spec: make_task(spec) for spec in tasks}
    found = {str(rule): _agent(rule, next(iter(made.values())), trust) for rule in rules}
    names = _names(found)
    for task, agent, network in itertools.product(made.values(), found.values(), networks):
        if not _incompatibility(agent, task):
            agents.transfer_rule(agent, task, network)  # before the folder is made: bad options leave no trace
    with folder.held() as goes_on:
        settings = {"retrainings": retrainings, "seed": seed}
        hashes = {
            names[rule]: digest(agent, settings_saved(rule) if Path(rule).is_dir() else None)
            for rule, agent in found.items()
        }
        done = _read(folder, settings, hashes) if goes_on else {}
        cells = []
        for spec, task in made.items():
            for rule, agent in found.items():
                for network in networks or ("",):
                    cell = done.get((names[rule], network, spec))
                    if cell is None:
                        cell = _retrain(agent, Transfer(names[rule], network, spec), task, retrainings, seed)
                    cells.append(cell)
                    done[names[rule], network, spec] = cell
                    _write(folder.path, settings | {"agents": hashes}, list(done.values()), made)
    return cells


def _agent(rule: str | Path, task: Task, trust: Collection[str]) -> Agent:
    """The agent in a folder, or one with the rule that a spec names."""
    if Path(rule).is_dir():
        return load_agent(rule, trust=trust)
    if parse_spec(str(rule))[0] in agents.RULES or ":" in str(rule):
        return agents.make_for(task, rule=str(rule))
    raise UnknownNameError(f"{rule} is neither a folder with an agent nor a rule (see plastic-envs list)")


def _names(found: Mapping[str, Agent]) -> dict[str, str]:
    """Folders by their last part, where that is enough to tell them apart."""
    short = {rule: Path(rule).name if Path(rule).is_dir() else rule for rule in found}
    return {rule: name if list(short.values()).count(name) == 1 else rule for rule, name in short.items()}


def _incompatibility(agent: Agent, task: Task) -> str:
    """Why a rule's network cannot live in a task; empty if it can."""
    return agents.incompatibility(task, rule=agent.config["rule"], network=agent.config.get("network"))


@torch.no_grad()
def _retrain(agent: Agent, cell: Transfer, task: Task, retrainings: int, seed: int) -> Transfer:
    """One cell: as many lifetimes as there are retrainings."""
    held_out = task.held_out()
    if reason := _incompatibility(agent, task):
        return Transfer(cell.rule, cell.network, cell.task, reason=reason)
    student = agents.transfer_rule(agent, task, cell.network or None)
    generator = make_generator(seed, "transfer")
    before = generator.clone_state()
    lived = rollout(student, held_out, retrainings, generator)
    scores = reference_scores(held_out, lived.episode, retrainings, before)
    references = {name: float(score.mean()) for name, score in scores.items() if name != "oracle"}
    return Transfer(cell.rule, cell.network, cell.task, tuple(map(float, lived.metric)), references)


def _read(
    folder: ResumableFolder, settings: dict[str, Any], hashes: dict[str, str]
) -> dict[tuple[str, str, str], Transfer]:
    """What the folder holds already; hashes of the agents that it is of are added."""
    path = folder.path / INDEX
    try:
        head = read_json(path)
        begun = {name: head[name] for name in settings}
        agents_then = dict(head.get("agents", {}))  # those of earlier versions have none
        cells = [
            Transfer(**{**cell, "scores": tuple(cell["scores"]), "network": current_network(cell["network"])})
            for cell in head["cells"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    folder.check_settings(begun, settings)
    for name in hashes.keys() & agents_then.keys():
        if hashes[name] != agents_then[name]:
            raise UsageError(f"{folder.path} was started with another agent of the name {name!r}: name another folder")
    hashes |= agents_then
    return {(cell.rule, cell.network, cell.task): cell for cell in cells}


def _write(folder: Path, settings: dict[str, Any], cells: Sequence[Transfer], tasks: Mapping[str, Task]) -> None:
    text = json.dumps({**settings, "cells": [asdict(cell) for cell in cells]}, indent=1) + "\n"
    write_atomically(folder / INDEX, text.encode())
    rows = io.StringIO(newline="")
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(COLUMNS)
    for cell in cells:
        for retraining, score in enumerate(cell.scores):
            writer.writerow((cell.rule, cell.network, cell.task, retraining, score))
    write_atomically(folder / "transfer.csv", rows.getvalue().encode())
    write_atomically(folder / "table.md", transfer_table([c for c in cells if c.task in tasks], tasks).encode())


def transfer_table(cells: Sequence[Transfer], tasks: Mapping[str, Task]) -> str:
    """Rules on networks down, tasks across, mean ± 95% half width over retrainings, in Markdown."""
    shown = [spec for spec in tasks if any(cell.task == spec for cell in cells)]
    lines: dict[str, dict[str, str]] = {}
    for cell in cells:
        name = f"{cell.rule} on {cell.network}" if cell.network else cell.rule
        metric = tasks[cell.task].metric_kind
        lines.setdefault(name, {})[cell.task] = (
            f"skipped: {cell.reason}" if cell.reason else format_interval(cell.interval, metric)
        )
        for reference, score in (cell.references or {}).items():
            lines.setdefault(f"({reference})", {})[cell.task] = format_number(score, metric)
    ordered = sorted(lines, key=lambda name: name.startswith("("))  # references last
    table = [["rule", *shown], *([name, *(lines[name].get(spec, MISSING) for spec in shown)] for name in ordered)]
    note = "Mean ± half width of the 95% Student-t interval over retrainings (their number)."
    return "\n".join([*aligned(table), "", note, ""])
