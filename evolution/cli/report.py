"""`plastic-envs report`."""

import argparse

from evolution.cli.options import add_trust


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("folder", metavar="DIR", help="folder of a comparison or of a run")
    add_trust(parser)


def run(args: argparse.Namespace) -> int:
    """Write the report and print where it is."""
    from evolution.reports.reporting import report

    print(report(args.folder, trust=args.trust))
    return 0
