"""`plastic-envs rule`."""

import argparse

from evolution.cli.options import add_trust


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("run", metavar="RUN", help="folder of a run, or of an agent")
    add_trust(parser)


def run(args: argparse.Namespace) -> int:
    """Print the rule with its learned coefficients."""
    import agents

    agent = agents.load(args.run, trust=args.trust)
    print(agent.rule.describe() or f"{agent.config['rule']} has no coefficients of its own")
    return 0
