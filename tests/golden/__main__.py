"""`python -m tests.golden [FILE_OR_FOLDER…]`: replay traces, a line each; exit status 1 if any fails."""

import sys
from collections.abc import Iterator
from pathlib import Path

from plastic_envs.utils.errors import UsageError
from tests.golden import FOLDER, check, traces

MOST_NAMED = 5
"""Arrays that a line names."""


def main(names: list[str]) -> int:
    """Replay the named files and those in the named folders, or all that lie here."""
    failed = False
    for name in names or [str(FOLDER)]:
        for path, verdict, fails in _replayed(Path(name)):
            print(" ".join(f"{path}: {verdict}".split()), flush=True)
            failed |= fails
    return int(failed)


def _replayed(path: Path) -> Iterator[tuple[Path, str, bool]]:
    """Each trace with what is to be said of it, and whether it fails."""
    try:
        found = traces(path)
    except (OSError, UsageError) as error:
        yield path, f"FAIL: {error}", True
        return
    for trace in found:
        try:
            verdict = check(trace)
        except UsageError as error:
            yield trace, f"FAIL: {error}", True
        except Exception as error:  # whatever a file leads a replay to is a line, and the next file has its turn
            yield trace, f"FAIL: the replay stopped, {type(error).__name__}: {error}", True
        else:
            word = f"FAIL: {_missed(verdict.misses)}" if verdict.misses else "ok"
            yield trace, f"values {verdict.values:.1e}, gradients {verdict.gradients:.1e}, {word}", bool(verdict.misses)


def _missed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"more than the tolerance off at {', '.join(names[:MOST_NAMED])}{more}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
