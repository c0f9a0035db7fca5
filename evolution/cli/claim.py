"""`plastic-envs claim`."""

import argparse
import signal
import sys

from evolution.cli.options import begins_anew, whole

NUMBER_HELP = (
    "a claim, module:Name of your own, or list (the default); `plastic-envs list N` tells its criterion and sizes"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("number", metavar="N", nargs="?", default="list", help=NUMBER_HELP)
    parser.add_argument("--full", action="store_true", help="larger, or the paper's sizes, rather than within minutes")
    parser.add_argument("--seed", type=whole, default=0, metavar="N", help="root of all random streams (0)")
    parser.add_argument(
        "--jobs",
        type=whole,
        default=1,
        metavar="N",
        help="processes side by side, if it trains several kinds of agents (1)",
    )
    parser.add_argument("--out", metavar="DIR", help="folder of the claim (runs/claim-N)")
    parser.add_argument(
        "--resume", action="store_true", help="go on with a claim that was broken off, with the agents that DIR has"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the claim in DIR")


def run(args: argparse.Namespace) -> int:
    """Print what is claimed, the figures and whether it holds; one that does not hold is no error."""
    from evolution.claims import CLAIMS, claim
    from evolution.claims.running import default_folder

    if args.number == "list":
        width = max(map(len, CLAIMS))
        for number, row in CLAIMS.items():
            print(f"{number:<{width}}  {row.summary}")
        return 0
    folder = args.out or default_folder(args.number)
    sys.stderr.write(begins_anew(args.resume, folder, "claim"))
    # ends processes side by side too
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        finding = claim(
            args.number,
            full=args.full,
            seed=args.seed,
            jobs=args.jobs,
            out=args.out,
            resume=args.resume,
            overwrite=args.overwrite,
        )
    finally:
        signal.signal(signal.SIGTERM, before)
    print(f"Claim {args.number}: {finding.text()}", end="")
    print(f"\nclaim.json, figures.csv, picture.png and picture.svg are in {folder}", file=sys.stderr)
    return 0
