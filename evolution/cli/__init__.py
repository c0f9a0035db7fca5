"""The command line `plastic-envs`: a file per command in this package, and a row here."""

import argparse
import contextlib
import importlib
import importlib.metadata
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

COMMANDS = {
    "list": "the tasks, rules, cells, searchers and presets that go by name",
    "train": "search the meta-parameters of one agent on one task",
    "evaluate": "score a trained agent on held-out episodes, beside the reference predictors",
    "compare": "tasks × rules × searchers × seeds on one budget, in parallel",
    "rule": "print a learned rule in readable form",
    "transfer": "train new networks with learned rules: rules × networks × tasks",
    "claim": "run what a paper claims, and say whether it holds",
    "report": "write report.html and its figures from a comparison or a run",
}
"""Command to summary; module `evolution.cli.<command>` has `add_arguments(parser)` and `run(args) -> int`."""

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; what a user can mend ends in one line on standard error and status 2.

    A command's module, and the libraries behind it, are imported only when it is called.
    """
    if argv is None:
        _leave_working_directory()
        warnings.formatwarning = lambda message, *_, **__: (
            f"plastic-envs: warning: {message}\n"
        )  # without a place in code
    argv = [*(sys.argv[1:] if argv is None else argv)]  # the name `list` is a module here once that command has run
    try:
        args = _parser(argv).parse_args(argv)
        return int(importlib.import_module(f"evolution.cli.{args.command}").run(args))
    except KeyboardInterrupt:
        print("plastic-envs: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # as in `plastic-envs list | head -1`
        sys.stderr.close()
        return 1
    except OSError as error:
        print(f"plastic-envs: error: {error}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "allocate memory" not in str(error):  # torch's word for it
            raise
        print("plastic-envs: error: this needs more memory than there is", file=sys.stderr)
        return 2
    except ValueError as error:
        from plastic_envs.errors import UsageError

        if not isinstance(error, UsageError):
            raise
        print(f"plastic-envs: error: {error.sentence}", file=sys.stderr)
        return 2


def _leave_working_directory() -> None:
    """Let nothing in the working directory, perhaps a folder that one was sent, stand for what is installed.

    `python -m` and an empty entry of PYTHONPATH put it on the module path; matplotlib reads settings that lie there.
    """
    here, home = os.path.abspath(""), os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if here != home:
        sys.path[:] = [place for place in sys.path if os.path.abspath(place) != here]
    if os.path.lexists("matplotlibrc"):
        from plastic_envs.working_directory import away_from

        with away_from("matplotlibrc"), contextlib.suppress(ImportError):
            import matplotlib  # noqa: F401


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """End with status 2."""
        self.exit(2, f"plastic-envs: error: {message} (see {self.prog} --help)\n")


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="plastic-envs",
        description="Meta-learning tasks, agents whose weights change while they live, "
        "and searchers that find their rules.",
        epilog="Names take options: SequenceReproduction,seq_length=5,delay=20 or pgpe,popsize=50. "
        "Your own go by module:Name.",
    )
    parser.add_argument("--version", action="version", version=f"plastic-envs {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name in argv:
            importlib.import_module(f"evolution.cli.{name}").add_arguments(command)
    return parser


def _version() -> str:
    try:
        return importlib.metadata.version("plastic-envs")
    except importlib.metadata.PackageNotFoundError:  # run from a clone that is not installed
        return "(not installed)"
