"""`plastic-envs list`."""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        help="tell all about one of them, a claim, gym:id or module:Name: options, sources",
    )
    parser.add_argument("--json", action="store_true", help="for programs: {kind: {name: summary}}")


def run(args: argparse.Namespace) -> int:
    """Print every registered name with a line about it, or all about one."""
    from evolution.cli.descriptions import REGISTRIES, describe
    from evolution.experiments.presets import PRESETS
    from evolution.experiments.presets import describe as describe_preset

    if args.name is not None:
        print(describe(args.name))
        return 0
    names = {kind: {name: row.summary for name, row in registry.items()} for kind, registry in REGISTRIES.items()}
    names["tasks"]["gym:id"] = "any Gymnasium environment, such as gym:CartPole-v1 or gym:module:id"
    names["presets"] = {name: describe_preset(grids) for name, grids in PRESETS.items()}
    if args.json:
        print(json.dumps(names, indent=2, ensure_ascii=False))
        return 0
    width = max(len(name) for kind in names.values() for name in kind)
    for kind, rows in names.items():
        print(kind)
        for name, summary in rows.items():
            print(f"  {name:<{width}}  {summary}")
    return 0
