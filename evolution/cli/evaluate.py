"""`plastic-envs evaluate`."""

import argparse
import json
from typing import TYPE_CHECKING

from evolution.cli.options import add_trust, whole

if TYPE_CHECKING:
    from evolution.evaluation.evaluate import Evaluation
    from plastic_envs.core.task import Task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("run", metavar="RUN", help="folder of a run, or of an agent")
    parser.add_argument("--task", metavar="SPEC", help="another task, of fitting sizes (the one trained on)")
    parser.add_argument("--episodes", type=whole, default=1000, metavar="N", help="held-out episodes (1000)")
    parser.add_argument("--json", action="store_true", help="for programs")
    add_trust(parser)


def run(args: argparse.Namespace) -> int:
    """Print the agent's score beside the reference predictors'."""
    from pathlib import Path

    from evolution.evaluation.evaluate import evaluate
    from evolution.reports.records import open_task
    from evolution.runs.run_folder import RunFolder
    from plastic_envs.tasks import make_task
    from plastic_envs.utils.errors import UsageError

    folder = RunFolder(Path(args.run))
    agent = folder.load_agent(args.trust)
    if args.task is not None:
        spec, task = args.task, make_task(args.task)
    elif folder.config.exists():
        spec = folder.read_settings().task
        task = open_task(folder.path, spec, args.trust)
    else:
        raise UsageError(f"{args.run} holds an agent but no run: say on which --task to evaluate it")
    evaluation = evaluate(agent, task, args.episodes)
    print(_as_json(spec, task, evaluation) if args.json else _as_text(spec, task, evaluation))
    return 0


def _as_json(spec: str, task: "Task", evaluation: "Evaluation") -> str:
    from evolution.reports.tables import bootstrap_name
    from evolution.runs.run_folder import without_nan

    values = {
        "task": spec,
        "metric": task.metric_kind,
        "higher_is_better": task.higher_is_better,
        "episodes": len(evaluation.scores),
        "mean": evaluation.metric,
        "interval": {"method": bootstrap_name(task), "ends": list(evaluation.interval)},
        **({"loss": evaluation.loss} if task.has_targets else {"reward": -evaluation.loss}),
        "chance": getattr(task, "chance", None),
        "best": getattr(task, "best", None),
        "references": dict(evaluation.references),
    }
    return json.dumps(without_nan(values), indent=2)


def _as_text(spec: str, task: "Task", evaluation: "Evaluation") -> str:
    from evolution.reports.tables import format_bootstrap, format_number, references_text
    from evolution.runs.results import named_references

    better = "higher" if task.higher_is_better else "lower"
    lines = [f"{spec}: {task.metric_kind} on {len(evaluation.scores):,} held-out episodes, {better} is better"]
    score, interval = format_number(evaluation.metric, task.metric_kind), format_bootstrap(*evaluation.interval, task)
    named = named_references(getattr(task, "chance", None), evaluation.references, getattr(task, "best", None))
    return "\n".join([*lines, f"  agent: {score} {interval}", references_text(task, named)]).rstrip()
