"""`plastic-envs train`."""

import argparse
import dataclasses
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from evolution.cli.options import (
    add_searched,
    add_settings,
    add_trust,
    begins_anew,
    command_line,
    given,
    report_command,
    whole,
)

if TYPE_CHECKING:
    from evolution.runs.settings import RunSettings

OPTIONS = ("rule", "network", "cell", "hidden", "searcher", "budget", "seed", "eval_episodes", "evals")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "task", metavar="TASK", nargs="?", help="name,key=value,… or module:Name (see plastic-envs list)"
    )
    add_settings(parser, *OPTIONS)
    add_searched(parser)
    parser.add_argument("--config", metavar="FILE", help="a run's config.json, to repeat it; options replace its own")
    add_trust(parser)
    parser.add_argument("--out", metavar="DIR", help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on with the run in DIR")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in DIR")
    parser.add_argument("--actors", type=whole, metavar="N", help="processes of Ray that share each generation")
    parser.add_argument("--ray-address", metavar="HOST:PORT", help="cluster that they are on (started on this machine)")
    parser.add_argument("--dry-run", action="store_true", help="only say what it would cost")


def run(args: argparse.Namespace) -> int:
    """Train, with progress on standard error and the result on standard output."""
    from evolution.cli import INTERRUPTED
    from evolution.experiments.comparison import trusted_code
    from evolution.experiments.plan import PlannedRun, searcher_incompatibility
    from evolution.reports.tables import format_bootstrap, format_number, references_text
    from evolution.runs.progress import Progress, counted, duration
    from evolution.runs.results import RunProgress
    from evolution.runs.train import train
    from plastic_envs.tasks import make_task
    from plastic_envs.utils.errors import UsageError

    settings = _settings(args)
    if not args.resume and (reason := searcher_incompatibility(make_task(settings.task), settings.searcher)):
        others = command_line(
            "train", args, "task", "config", *OPTIONS, "searched", searcher="a2c", out=args.out or "DIR"
        )
        raise UsageError(f"{reason}; a2c, ppo and evolution do without, as in {others}")
    if args.dry_run:
        from evolution.experiments.estimate import estimate

        print(estimate([PlannedRun(args.out or "", settings)], jobs=1))
        return 0
    if args.out is None:
        raise UsageError("--out is missing: name a folder for the run")
    for config in filter(None, (args.config, args.resume and Path(args.out) / "config.json")):
        _tell_differences(Path(config), settings)
    lines = [begins_anew(args.resume, args.out, "run")]
    with Progress(settings.budget) as bar:

        def tell(progress: RunProgress) -> None:
            if lines:  # now that nothing was refused
                sys.stderr.write(lines.pop())
            bar.update(progress.episodes, progress.told)

        result = train(
            settings,
            args.out,
            resume=args.resume,
            overwrite=args.overwrite,
            progress=tell,
            actors=args.actors,
            ray_address=args.ray_address,
        )
    if result.status == "interrupted":
        print(
            f"plastic-envs: interrupted after {counted(result.episodes, 'episode')}; go on with --resume",
            file=sys.stderr,
        )
        return INTERRUPTED
    task = make_task(settings.task)
    metric = task.metric_kind
    print(
        f"{result.status}: {metric} {format_number(result.metric, metric)} on {settings.eval_episodes:,} held-out "
        f"episodes {format_bootstrap(result.metric_low, result.metric_high, task)}, "
        f"{counted(result.n_searched, 'parameter')} searched, "
        f"{counted(result.episodes, 'episode')} in {duration(result.seconds)}"
    )
    if result.named_references:
        print(references_text(task, result.named_references))
    plots = report_command(args.out, trusted_code([PlannedRun("", settings)]))
    print(f"\nagent and history are in {args.out}; plots: {plots}", file=sys.stderr)
    if result.status == "diverged":
        told = (
            f"the loss or the parameters were no longer finite; the agent in {args.out} is that of the last "
            "evaluation. A smaller step helps most often: a lower learning_rate or stdev_init of the searcher"
        )
        if math.isnan(result.metric):
            told = (
                "the agent that the search starts from has no finite score: what it learns grows without bound. "
                "Another rule or network helps, or smaller coefficients to start from"
            )
        print(f"plastic-envs: {told}", file=sys.stderr)
    return 0 if result.status == "finished" else 1


def _settings(args: argparse.Namespace) -> "RunSettings":
    """What was typed, or a run's settings with what was typed in their place."""
    from evolution.runs.run_folder import read_config
    from evolution.runs.settings import RunSettings
    from plastic_envs.external.task import without_prefix
    from plastic_envs.utils.errors import UsageError
    from plastic_envs.utils.registry import check_trusted, texts

    typed = given(args, *OPTIONS, "searched") | ({} if args.task is None else {"task": args.task})
    config = args.config
    if config is None and args.task is None and args.resume and args.out:  # what one goes on with knows its settings
        here = Path(args.out) / "config.json"
        config = here if here.is_file() else None
    if config is None:
        if args.task is None:
            raise UsageError("TASK is missing: name a task (see plastic-envs list), or a run's --config to repeat")
        return RunSettings(**typed)
    found = read_config(Path(config))[0]
    for name in ("task", "rule", "network", "cell", "searcher"):
        if name not in typed and (spec := getattr(found, name)) is not None:
            check_trusted(config, without_prefix(spec), args.trust)
    for text in texts(dict(found.agent_options)):
        check_trusted(config, text, args.trust)
    settings = dataclasses.replace(found, **typed)
    if (difference := found.difference(settings)) is not None:
        print(f"plastic-envs: not as in {config}, which has {difference}", file=sys.stderr)
    return settings


def _tell_differences(config: Path, settings: "RunSettings") -> None:
    """Say which code is not that of the run that is repeated or resumed."""
    from evolution.runs.provenance import differences
    from evolution.runs.run_folder import read_config

    if config.is_file():
        for text in differences(read_config(config)[1], settings):
            print(f"plastic-envs: warning: {text}", file=sys.stderr)
