"""`plastic-envs rule`."""

import argparse

from evolution.cli.options import add_trust


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("run", metavar="RUN", help="folder of a run, or of an agent")
    add_trust(parser)


def run(args: argparse.Namespace) -> int:
    """Print the rule with its learned coefficients, and how plastic each layer is."""
    from evolution.reports.learned_rule import describe
    from evolution.runs.run_folder import load_agent

    print(describe(load_agent(args.run, trust=args.trust)))
    return 0
