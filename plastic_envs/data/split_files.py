"""What the files train, val and test beside pictures say: lists of classes, or tables of pictures and their classes."""

import csv
import warnings
from collections.abc import Callable, Collection
from pathlib import Path

from plastic_envs.data.files import is_folder, listing
from plastic_envs.data.labelled import Split
from plastic_envs.utils.errors import FileUsageError, UsageError
from plastic_envs.utils.reading import read_text

SPLIT_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("val", "validation", "valid"),
    "test": ("test", "testing"),
}
MOST_BYTES = 20_000_000  # miniImageNet's tables have two million together

Files = dict[str, list[Path]]
"""The pictures of each class."""


def split_of(folder: Path, named: Collection[tuple[str, Path]]) -> dict[Split, Path]:
    """Which of some folders or files in a folder, by their names, are those of splits, in small or capital letters.

    Raises:
        UsageError: two are of one split.
    """
    found: dict[Split, Path] = {}
    for split, names in SPLIT_NAMES.items():
        of_split = [path for name, path in named if name.lower() in names]
        if len(of_split) > 1:
            raise UsageError(f"{folder} has both {of_split[0].name} and {of_split[1].name}: leave one of them")
        if of_split:
            found[split] = of_split[0]
    return found


def listed(folder: Path, pictures_in: Callable[[Path], list[Path]]) -> dict[Split, Files]:
    """Classes as lists of the three splits name them, one a line."""
    inner = [sub for sub in listing(folder) if sub.name == "splits" and is_folder(sub)]
    for place in (folder, *(sub for splits in inner for sub in listing(splits) if is_folder(sub))):
        lists = _three(place, ".txt")
        if lists:
            home = folder / "data" if is_folder(folder / "data") else folder
            seen: set[str] = set()
            return {split: _of_list(file, home, pictures_in, seen) for split, file in lists.items()}
    return {}


def _of_list(file: Path, home: Path, pictures_in: Callable[[Path], list[Path]], seen: set[str]) -> Files:
    lines = read_text(file, MOST_BYTES).removeprefix("\ufeff").splitlines()
    names = [line.strip() for line in lines if line.strip()]
    for name in names:
        if "/" in name or name == ".." or not is_folder(home / name):
            raise UsageError(f"{file}: a list names the class {name!r}, but there is no folder {home / name}")
        if name in seen:
            raise UsageError(f"{file} names the class {name!r}, which is in a list already")
        seen.add(name)
    return {name: pictures_in(home / name) for name in names}


def tabled(folder: Path) -> dict[Split, Files]:
    """Files and their classes as tables of the three splits name them.

    Raises:
        UsageError: a table cannot be read, lacks a column, or names a file that is not there, or twice.
    """
    home = folder / "images" if is_folder(folder / "images") else folder
    seen: set[str] = set()
    return {split: _of_table(table, home, seen) for split, table in _three(folder, ".csv").items()}


def _of_table(table: Path, home: Path, seen: set[str]) -> Files:
    part: Files = {}
    rows = csv.DictReader(read_text(table, MOST_BYTES).removeprefix("\ufeff").splitlines())
    try:
        for row in rows:
            name, label = row.get("filename"), row.get("label")
            if not name or not label:
                columns = ", ".join(map(str, rows.fieldnames or []))[:100]
                raise FileUsageError(f"{table} must have the columns filename and label in every line, not {columns}")
            if name in seen or ".." in Path(name).parts or Path(name).is_absolute():
                wrong = "twice" if name in seen else f"which is not in {home}"
                raise FileUsageError(f"{table} names the file {name!r}, {wrong}")
            seen.add(name)
            part.setdefault(label, []).append(home / name)
    except csv.Error as error:
        raise FileUsageError(f"{table} cannot be read as a table: {error}") from None
    return part


def _three(place: Path, suffix: str) -> dict[Split, Path]:
    """The files of the three splits, if all are there."""
    files = [file for file in listing(place) if file.suffix.lower() == suffix and not is_folder(file)]
    found = split_of(place, [(file.stem, file) for file in files])
    if {"train", "test"} == set(found):
        warnings.warn(f"{place} has train{suffix} and test{suffix} but no val{suffix}: they are not read", stacklevel=2)
    return found if set(found) == set(SPLIT_NAMES) else {}
