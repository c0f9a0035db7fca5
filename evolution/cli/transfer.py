"""`plastic-envs transfer`."""

import argparse
import sys

from evolution.cli.options import add_trust, begins_anew, whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("rules", nargs="+", metavar="RULE", help="folder of a run or an agent, or a rule's name")
    parser.add_argument("--tasks", nargs="+", required=True, metavar="SPEC", help="what the networks learn")
    parser.add_argument(
        "--networks", nargs="+", default=[], metavar="SPEC",
        help="how they differ from those the rules were learned on, as in kwta,hidden=1000",
    )  # fmt: skip
    parser.add_argument("--retrainings", type=whole, default=10, metavar="N", help="networks a cell (10)")
    parser.add_argument("--seed", type=whole, default=0, metavar="N", help="root of all random streams (0)")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the result")
    parser.add_argument("--resume", action="store_true", help="go on with the transfer in DIR")
    add_trust(parser)


def run(args: argparse.Namespace) -> int:
    """Retrain, and print the table; status 1 if no cell has a figure."""
    from evolution.experiments.grid import specs_from
    from evolution.experiments.retraining import transfer, transfer_table
    from plastic_envs.tasks import make_task

    tasks, networks = specs_from(args.tasks), specs_from(args.networks)
    sys.stderr.write(begins_anew(args.resume, args.out, "transfer"))
    cells = transfer(
        args.rules, tasks, args.out, networks=networks, retrainings=args.retrainings, seed=args.seed,
        resume=args.resume, trust=args.trust,
    )  # fmt: skip
    print(transfer_table(cells, {spec: make_task(spec) for spec in tasks}), end="")
    print(f"transfer.csv and table.md are in {args.out}", file=sys.stderr)
    return 0 if any(cell.scores for cell in cells) else 1
