"""Code of the user's that would end the process, as by `sys.exit()`, is told of like any other mistake in it."""

import contextlib
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from plastic_envs.utils.errors import UsageError

_HOME = Path(__file__).resolve().parents[2]
_OURS = tuple(str(_HOME / package) for package in ("plastic_envs", "agents", "evolution"))
_INSTALLED = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib"))


@contextlib.contextmanager
def leaving_refused(interrupted: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Call what may run code of the user's; also a decorator, `@leaving_refused()`.

    Args:
        interrupted: whether a KeyboardInterrupt comes from the keyboard, rather than from that code.

    Raises:
        UsageError: that code raised SystemExit or KeyboardInterrupt; the sentence says where.
    """
    try:
        yield
    except (SystemExit, KeyboardInterrupt) as error:
        frames = traceback.extract_tb(error.__traceback__)
        if frames[-1].filename.startswith(_OURS) or (isinstance(error, KeyboardInterrupt) and interrupted()):
            raise
        theirs = [frame for frame in frames if not is_installed(frame.filename)]
        place = (theirs or frames)[-1]
        words = f"{type(error).__name__}({error.code!r})" if isinstance(error, SystemExit) else type(error).__name__
        raise UsageError(
            f"{place.filename}, line {place.lineno}, in {place.name}: code of your own raised {words[:80]}, which "
            "would end the process: let it return, or raise another exception"
        ) from error


def is_installed(file: str) -> bool:
    """Whether a file of code is Python's, a library's or of this package, rather than the user's."""
    return file.startswith((*_OURS, *_INSTALLED)) or not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)
