"""`plastic-envs list`."""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--json", action="store_true", help="for programs: {kind: {name: summary}}")


def run(args: argparse.Namespace) -> int:
    """Print every registered name with a line about it."""
    from agents import CELLS, NETWORKS, RULES
    from evolution.presets import PRESETS, describe
    from evolution.registry import SEARCHERS
    from plastic_envs.data import DATA
    from plastic_envs.tasks import TASKS

    names = {
        kind: {name: row.summary for name, row in registry.items()}
        for kind, registry in (
            ("tasks", TASKS),
            ("data sets", DATA),
            ("rules", RULES),
            ("networks", NETWORKS),
            ("cells", CELLS),
            ("searchers", SEARCHERS),
        )
    }
    names["tasks"]["gym:id"] = "any Gymnasium environment, such as gym:CartPole-v1 or gym:module:id"
    names["presets"] = {name: describe(grids) for name, grids in PRESETS.items()}
    if args.json:
        print(json.dumps(names, indent=2, ensure_ascii=False))
        return 0
    width = max(len(name) for kind in names.values() for name in kind)
    for kind, rows in names.items():
        print(kind)
        for name, summary in rows.items():
            print(f"  {name:<{width}}  {summary}")
    return 0
