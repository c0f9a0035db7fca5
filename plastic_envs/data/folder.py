"""Any folder of pictures, and the folders in which CIFAR-FS and miniImageNet are passed on."""

import csv
from functools import lru_cache
from pathlib import Path

import torch

from plastic_envs.data.files import named_folder
from plastic_envs.data.labelled import LabelledData, Split
from plastic_envs.data.pictures import read_picture, reduce
from plastic_envs.errors import FileUsageError, MissingFileError, UsageError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
SIZE, LARGEST = 32, 100
SPLIT_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("val", "validation", "valid"),
    "test": ("test",),
}

Files = dict[str, list[Path]]
"""The pictures of each class."""


def load(path: str | Path) -> LabelledData:
    """The pictures below a folder, in colour.

    Classes are, whichever is there: the subfolders of the folders train, val and test, which are then the splits; the
    classes that the lists train.txt, val.txt and test.txt (here or in splits/*/) name, subfolders of here or of data/;
    what train.csv, val.csv and test.csv say of the files (columns filename and label) here or in images/; the
    subfolders of here; or one class of all pictures here. Pictures of one size of at most 100 pixels a side are
    taken as they are; others are cut to their central square and reduced to 32×32.

    Raises:
        UsageError: there are no pictures, or one cannot be read.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise FileUsageError(f"{folder} is no folder of pictures")
    return _read(folder.resolve())


def load_named(name: str, folder: str | Path | None = None) -> LabelledData:
    """The folder of a name below the folder that the user names; see `load`.

    Args:
        name: "cifar-fs" or "miniimagenet".
        folder: where it is; by default the folder that the environment variable PLASTIC_ENVS_DATA names.

    Raises:
        UsageError: it is not there; or as `load`.
    """
    chosen = named_folder(folder)
    if chosen is None or not (chosen / name).is_dir():
        where = f"put it into {chosen}" if chosen else "set PLASTIC_ENVS_DATA to the folder that it is in"
        raise MissingFileError(
            f"data set {name!r} needs a folder {name!r} with the subfolders train, val and test of a folder for each "
            f"class, or with its pictures and lists: {where}"
        )
    return load(chosen / name)


@lru_cache(maxsize=2)
def _read(folder: Path) -> LabelledData:
    parts = _split_folders(folder) or _listed(folder) or _tabled(folder)
    if parts:
        classes: Files = {name: files for part in parts.values() for name, files in part.items()}
    else:
        classes = _classes(folder) or {folder.name: _pictures(folder)}
    names = sorted(name for name, files in classes.items() if files)
    if not names:
        raise UsageError(f"{folder} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    number = {name: label for label, name in enumerate(names)}
    pictures = [read_picture(file, file) for name in names for file in classes[name]]
    shapes = {picture.shape for picture in pictures}
    if len(shapes) > 1 or max(next(iter(shapes))[1:]) > LARGEST:
        pictures = [reduce(picture, SIZE) for picture in pictures]
    labels = [number[name] for name in names for _ in classes[name]]
    splits = {split: [number[name] for name in sorted(part) if name in number] for split, part in parts.items()}
    return LabelledData(torch.stack(pictures), torch.tensor(labels), splits=splits)


def _pictures(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)


def _classes(folder: Path) -> Files:
    """The subfolders that hold pictures."""
    found = {sub.name: _pictures(sub) for sub in sorted(folder.iterdir()) if sub.is_dir()}
    return {name: files for name, files in found.items() if files}


def _split_folders(folder: Path) -> dict[Split, Files]:
    found = {
        split: _classes(folder / name)
        for split, names in SPLIT_NAMES.items()
        for name in names
        if (folder / name).is_dir()
    }
    return found if set(found) == set(SPLIT_NAMES) else {}


def _listed(folder: Path) -> dict[Split, Files]:
    """Classes as lists of the three splits name them."""
    for place in (folder, *sorted((folder / "splits").glob("*"))):
        lists = _three(place, ".txt")
        if lists:
            home = folder / "data" if (folder / "data").is_dir() else folder
            return {
                split: {name: _of_class(home / name) for name in file.read_text().split()}
                for split, file in lists.items()
            }
    return {}


def _of_class(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise MissingFileError(f"a list names the class {folder.name!r}, but there is no folder {folder}")
    return _pictures(folder)


def _tabled(folder: Path) -> dict[Split, Files]:
    """Files and their classes as tables of the three splits name them."""
    home = folder / "images" if (folder / "images").is_dir() else folder
    found: dict[Split, Files] = {}
    for split, table in _three(folder, ".csv").items():
        part: Files = {}
        with table.open(newline="") as file:
            for row in csv.DictReader(file):
                if not {"filename", "label"} <= row.keys():
                    raise UsageError(f"{table} must have the columns filename and label, not {', '.join(row)}")
                part.setdefault(row["label"], []).append(home / row["filename"])
        found[split] = part
    return found


def _three(place: Path, suffix: str) -> dict[Split, Path]:
    """The files of the three splits, if all are there."""
    found = {
        split: place / f"{name}{suffix}"
        for split, names in SPLIT_NAMES.items()
        for name in names
        if (place / f"{name}{suffix}").is_file()
    }
    return found if set(found) == set(SPLIT_NAMES) else {}
