"""The command line `plastic-envs`: a file per command in this package, and a row here."""

import argparse
import codecs
import contextlib
import importlib
import importlib.metadata
import io
import os
import sys
import warnings
from collections.abc import Mapping, Sequence

from evolution.cli.parser import Parser

COMMANDS = {
    "list": "the tasks, rules, cells, searchers and presets that go by name",
    "train": "search the meta-parameters of one agent on one task",
    "evaluate": "score a trained agent on held-out episodes, beside the reference predictors",
    "compare": "tasks × rules × networks × searchers × seeds on one budget, in parallel",
    "rule": "print a learned rule in readable form",
    "transfer": "train new networks with learned rules: rules × networks × tasks",
    "claim": "run what a paper claims, and say whether it holds",
    "report": "write report.html and its figures from a comparison or a run",
}
"""Command to summary; module `evolution.cli.<command>` has `add_arguments(parser)` and `run(args) -> int`."""

SPELT: Mapping[str, str] = {"±": "+-", "–": "-", "×": "x", "…": "...", "→": "->", "·": "|", "²": "^2"}
"""Letters of tables on terminals that have none of their own for them."""

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
    _prepare_streams()
    try:
        args = _parse(argv)
        status = _run(args)
        sys.stdout.flush()  # here, where a broken pipe is understood
        return status
    except KeyboardInterrupt:
        print("plastic-envs: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # as in `plastic-envs list | head -1`
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes when it ends
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
        from plastic_envs.utils.errors import UsageError

        if not isinstance(error, UsageError):
            raise
        print(f"plastic-envs: error: {error.sentence}", file=sys.stderr)
        return 2


def _run(args: argparse.Namespace) -> int:
    """The command; code of the user's that leaves is a mistake in it."""
    from plastic_envs.utils.leaving import leaving_refused

    with leaving_refused():
        return int(importlib.import_module(f"evolution.cli.{args.command}").run(args))


def _leave_working_directory() -> None:
    """Let nothing in the working directory, perhaps a folder that one was sent, stand for what is installed.

    `python -m` and an empty entry of PYTHONPATH put it on the module path; matplotlib reads settings that lie there.
    """
    here, home = os.path.abspath(""), os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if here != home:
        sys.path[:] = [place for place in sys.path if os.path.abspath(place) != here]
    if os.path.lexists("matplotlibrc"):
        from plastic_envs.utils.working_directory import away_from

        with away_from("matplotlibrc"), contextlib.suppress(ImportError):
            import matplotlib  # noqa: F401


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="plastic-envs",
        description="Meta-learning tasks, agents whose weights change while they live, "
        "and searchers that find their rules.",
        epilog="Names take options: SequenceReproduction,seq_length=5,delay=20 or pgpe,popsize=50. "
        "Your own go by module:Name.",
    )
    parser.add_argument("--version", action="version", version=f"plastic-envs {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made = {
        name: commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        for name, summary in COMMANDS.items()
    }
    named = next((word for word in argv if not word.startswith("-")), None)
    if named in made:
        importlib.import_module(f"evolution.cli.{named}").add_arguments(made[named])
    elif named is not None:
        from plastic_envs.utils.checks import choose, shown

        parser.error(f"unknown command {shown(named)}: {choose(named, COMMANDS)}")
    for word in argv:
        if not word.strip():
            made.get(named or "", parser).error(f"{word!r} names nothing: is a variable of the shell unset?")
        if "\0" in word or _undecodable(word):
            made.get(named or "", parser).error(f"{word!r} is not UTF-8, as all names and folders must be")
    args, extra = parser.parse_known_args(argv)
    if extra:
        others = {name: command for name, command in made.items() if name != named}
        for name, command in others.items():
            importlib.import_module(f"evolution.cli.{name}").add_arguments(command)
        made.get(named or "", parser).refuse(extra, others)
    return args


def _undecodable(word: str) -> bool:
    """Whether it was not UTF-8, which Python keeps as surrogates."""
    return any("\ud800" <= letter <= "\udfff" for letter in word)


def _spell(error: UnicodeError) -> tuple[str, int]:
    """What a terminal without these letters gets for them."""
    assert isinstance(error, UnicodeEncodeError)
    return "".join(SPELT.get(letter, "?") for letter in error.object[error.start : error.end]), error.end


def _prepare_streams() -> None:
    """Let nothing that is printed fail for a letter that the terminal lacks."""
    codecs.register_error("plastic-envs", _spell)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and (stream.encoding or "").lower().replace("-", "") != "utf8":
            stream.reconfigure(errors="plastic-envs")


def _version() -> str:
    try:
        return importlib.metadata.version("plastic-envs")
    except importlib.metadata.PackageNotFoundError:  # run from a clone that is not installed
        return "(not installed)"
