"""A folder is not what was asked for: what it is instead, and which below it or beside it was probably meant."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from evolution.runs.resumable import MARKS, marks_in
from plastic_envs.utils.checks import nearest
from plastic_envs.utils.errors import MissingFileError

BELOW = ("*", "runs/*/*/*/*", "runs/*/*/*/*/*")
"""Where a folder of runs has them, and where a comparison has, of one network or of several."""


def missing(folder: Path, what: str, marks: Sequence[str]) -> MissingFileError:
    """The refusal of a folder without any of the files that are wanted.

    Args:
        folder: What was named.
        what: What there is none of, as in "no agent here (agent.json is missing)".
        marks: The files.
    """
    with contextlib.suppress(OSError):  # of folders that may not be read
        if not folder.exists():
            near = nearest(folder.name, [item.name for item in folder.absolute().parent.iterdir() if item.is_dir()])
            return MissingFileError(
                f"there is no folder {folder}" + ("" if near is None else f": did you mean {folder.with_name(near)}?")
            )
        if not folder.is_dir():
            return MissingFileError(f"{folder} is a file: name the folder that it lies in")
        kind = next((f"{folder} is a {mine}: " for mine in MARKS if marks_in(folder, mine)), "")
        found = sorted({path.parent for mark in marks for below in BELOW for path in folder.glob(f"{below}/{mark}")})
        if found:
            of_several = f", one of {len(found):,} below it" if len(found) > 1 else ""
            return MissingFileError(f"{kind or f'{folder}: '}there is {what}; name {found[0]}{of_several}")
        return MissingFileError(f"{kind or f'{folder}: '}there is {what}")
    return MissingFileError(f"{folder}: there is {what}")
