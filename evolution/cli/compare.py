"""`plastic-envs compare`."""

import argparse
import dataclasses
import sys
from typing import TYPE_CHECKING

from evolution.cli.options import add_searched, add_settings, begins_anew, command_line, given, report_command, whole

if TYPE_CHECKING:
    from evolution.experiments.grid import Grid

SPECS = ("tasks", "rules", "searchers", "networks")
SETTINGS = ("budget", "network", "cell", "hidden", "eval_episodes", "evals")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    for name, example in (("tasks", "CueReward"), ("rules", "hebbian none"), ("searchers", "backprop pgpe")):
        parser.add_argument(
            f"--{name}", nargs="+", metavar="SPEC", default=argparse.SUPPRESS, help=f"one or more, as in {example}"
        )
    parser.add_argument(
        "--seeds",
        nargs="+",
        metavar="N|LIST",
        default=argparse.SUPPRESS,
        help="how many, or which, as in 5 or 0,3,7 (1)",
    )
    parser.add_argument(
        "--networks",
        nargs="+",
        metavar="SPEC",
        default=argparse.SUPPRESS,
        help="several beside each other, as in plastic-rnn,hidden=100 self-modulated,cell=lstm",
    )
    add_settings(parser, *SETTINGS)
    add_searched(parser)
    parser.add_argument("--preset", metavar="NAME", help="a ready comparison; other options replace parts of it")
    parser.add_argument("--out", metavar="DIR", help="folder of the comparison")
    parser.add_argument("--jobs", type=whole, metavar="N", help="processes side by side (number of cores)")
    parser.add_argument(
        "--ray-address", metavar="HOST:PORT", help="cluster of Ray that does the runs, N at a time (this machine)"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the comparison in DIR")
    parser.add_argument("--dry-run", action="store_true", help="only say what it would cost")


def run(args: argparse.Namespace) -> int:
    """Compare, with progress on standard error and the tables on standard output.

    Status 1 if a run failed or none came to its end.
    """
    from evolution.experiments.comparison import compare, comparison_text
    from evolution.experiments.presets import HINTS
    from plastic_envs.utils.errors import UsageError

    grids = grids_from(args)
    if args.dry_run:
        from evolution.experiments.comparison import check_jobs
        from evolution.experiments.estimate import estimate
        from evolution.experiments.plan import plan_runs

        print(estimate(plan_runs(grids), check_jobs(args.jobs)))
        return 0
    if args.out is None:
        raise UsageError("--out is missing: name a folder for the comparison")
    sys.stderr.write(begins_anew(args.resume, args.out, "comparison"))
    experiment = compare(
        grids,
        args.out,
        jobs=args.jobs,
        resume=args.resume,
        command=command_line("compare", args, "preset", *SPECS, "seeds", *SETTINGS, "searched") + " --out DIR",
        ray_address=args.ray_address,
    )
    print(comparison_text(experiment), end="")
    if args.preset in HINTS:
        print(f"\n{HINTS[args.preset]}")
    plots = report_command(args.out, experiment.trust)
    print(f"\nresults.csv and table.md are in {args.out}; plots: {plots}", file=sys.stderr)
    found = {run.status for run in experiment.runs}
    return 1 if "failed" in found or "finished" not in found else 0


def grids_from(args: argparse.Namespace) -> list["Grid"]:
    """The preset's grids with the given options in their place, or one grid of them."""
    from evolution.experiments.grid import Grid, seeds_from, specs_from
    from evolution.experiments.presets import preset
    from evolution.runs.settings import NETWORK, OPEN, describe_network
    from plastic_envs.utils.errors import UsageError

    options = given(args, *SETTINGS, "searched")
    options |= {name: specs_from(values) for name, values in given(args, *SPECS).items()}
    if hasattr(args, "seeds"):
        options["seeds"] = seeds_from(",".join(args.seeds))
    if args.preset is not None:
        grids = preset(args.preset)
        if "networks" in options:
            replaced = {describe_network(*(getattr(grid, name) for name in NETWORK)) for grid in grids}
            print(
                f"plastic-envs: --networks stand in place of the preset's {' and '.join(sorted(replaced))}",
                file=sys.stderr,
            )
            options = {**OPEN, **options}
        return [dataclasses.replace(grid, **options) for grid in grids]
    for name in SPECS[:3]:
        if name not in options:
            raise UsageError(f"--{name} is missing: name at least one, or take a --preset")
    return [Grid(**options)]
