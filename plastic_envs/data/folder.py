"""Any folder of pictures, and the folders in which CIFAR-FS and miniImageNet are passed on."""

import os
import warnings
from functools import lru_cache
from pathlib import Path

import torch

from plastic_envs.data.files import find, is_folder, listing, named_folder
from plastic_envs.data.labelled import LabelledData, Split
from plastic_envs.data.pictures import read_picture, reduce
from plastic_envs.data.split_files import SPLIT_NAMES, Files, listed, split_of, tabled
from plastic_envs.utils.checks import check_memory, in_gb
from plastic_envs.utils.errors import MissingFileError, UsageError

SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".tif", ".tiff"
}  # fmt: skip
SIZE, LARGEST = 32, 100


def load(path: str | Path) -> LabelledData:
    """The pictures below a folder, in colour.

    Classes are, whichever is there: the subfolders of the folders train, val and test; the classes that the lists
    train.txt, val.txt and test.txt (here or in splits/*/) name, subfolders of here or of data/; what train.csv, val.csv
    and test.csv say of the files (columns filename and label) here or in images/; the subfolders of here; or one class
    of all pictures here. Where train, val and test have different classes, these are the splits; where they have the
    same, the pictures of test are the test part and all others the training part. The folder val may be absent. Hidden
    files and those that systems make are passed over; pictures that none of this reads are told of in a warning.

    Pictures of one size of at most 100 pixels a side are taken as they are; others are cut to their central square and
    reduced to 32×32.

    Raises:
        UsageError: there are no pictures, one cannot be read, or it is not clear which are of which class and part.
    """
    folder = Path(os.path.expanduser(path))
    if not is_folder(folder):
        raise MissingFileError(f"{folder} is no folder of pictures")
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
    found = find(chosen, (), (name,))
    if found is None or not is_folder(found):
        where = f"put it into {chosen}" if chosen else "set PLASTIC_ENVS_DATA to the folder that it is in"
        raise MissingFileError(
            f"data set {name!r} needs a folder {name!r} with the subfolders train, val and test of a folder for each "
            f"class, or with its pictures and lists: {where}"
        )
    return load(found)


@lru_cache(maxsize=2)
def _read(folder: Path) -> LabelledData:
    parts = _split_folders(folder)
    explicit = {} if parts else listed(folder, pictures_in) or tabled(folder)
    told = parts or explicit or {"train": _classes(folder) or {folder.name: pictures_in(folder)}}
    names = sorted({name for part in told.values() for name, files in part.items() if files})
    if not names:
        deeper = [sub.name for sub in _subfolders(folder) if _classes(sub)]
        hint = f", but its subfolder {deeper[0]} does, in folders: name that one" if deeper else ""
        raise UsageError(f"{folder} holds no pictures ({', '.join(sorted(SUFFIXES))}){hint}")
    shared = len(told) > 1 and _check_shared(folder, told)
    files = [(part, name, file) for name in names for part in told for file in told[part].get(name, [])]
    number = {name: label for label, name in enumerate(names)}
    pixels = _pixels(folder, [file for _, _, file in files])
    labels = torch.tensor([number[name] for _, name, _ in files])
    if not explicit:
        _tell_of_others(folder, told, {file for _, _, file in files})
    if shared:
        return LabelledData(pixels, labels, test=torch.tensor([part == "test" for part, _, _ in files]))
    splits: dict[Split, list[int]] = {"train": [], "validation": [], "test": []}
    splits |= {part: [number[name] for name in sorted(told[part]) if name in number] for part in told}
    return LabelledData(pixels, labels, splits=splits if len(told) > 1 else {})


def _pixels(folder: Path, files: list[Path]) -> torch.Tensor:
    """The pictures (N, 3, H, W), none of which stays in memory in full if it is large."""
    pictures: list[torch.Tensor] = []
    sizes = set()
    for file in files:
        picture = read_picture(file, file)
        sizes.add(picture.shape)
        pictures.append(reduce(picture, SIZE) if max(picture.shape[1:]) > LARGEST else picture)
        if len(pictures) == 1:
            taken = 2e-9 * len(files) * pictures[0].numel()
            check_memory(f"{folder}: its {len(files):,} pictures take {in_gb(taken)}", taken, "take fewer")
    if len(sizes) > 1:
        pictures = [reduce(picture, SIZE) if picture.shape[1:] != (SIZE, SIZE) else picture for picture in pictures]
    return torch.stack(pictures)


def pictures_in(folder: Path) -> list[Path]:
    """The files in a folder that have the names of pictures."""
    return [file for file in listing(folder) if file.suffix.lower() in SUFFIXES and not is_folder(file)]


def _subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, but not links to what it is in itself."""
    inside = [sub for sub in listing(folder) if is_folder(sub)]
    return [sub for sub in inside if sub.resolve() not in (folder, *folder.parents)]


def _classes(folder: Path) -> Files:
    """The subfolders that hold pictures."""
    found = {sub.name: pictures_in(sub) for sub in _subfolders(folder)}
    return {name: files for name, files in found.items() if files}


def _split_folders(folder: Path) -> dict[Split, Files]:
    """Classes of the folders train, val and test, or one class of the pictures in them."""
    found = split_of(folder, [(sub.name, sub) for sub in _subfolders(folder)])
    if not found:
        return {}
    parts = {split: _classes(sub) for split, sub in found.items()}
    loose = [split for split, sub in found.items() if not parts[split] and pictures_in(sub)]
    held = [split for split in found if parts[split] or split in loose]
    lacking = [SPLIT_NAMES[split][0] for split in ("train", "test") if split not in held]
    if lacking:
        if set(_classes(folder)) - {found[split].name for split in loose}:
            return {}  # a class is called so
        there = " and ".join(sub.name for sub in found.values())
        raise UsageError(f"{folder} has {there} but no pictures in a folder {lacking[0]}")
    if loose and len(loose) < len(held):
        raise UsageError(f"{found[loose[0]]} holds pictures, but no folders of classes as others beside it do")
    return {split: {folder.name: pictures_in(found[split])} if loose else parts[split] for split in held}


def _check_shared(folder: Path, parts: dict[Split, Files]) -> bool:
    """Whether the parts have the same classes, rather than each its own."""
    classes = {part: {name for name, files in held.items() if files} for part, held in parts.items()}
    others = set().union(*(names for part, names in classes.items() if part != "train"))
    both = classes["train"] & others | classes.get("validation", set()) & classes["test"]
    if both and not others <= classes["train"]:
        raise UsageError(
            f"{folder}: the parts must have the same classes, or each its own, but {min(both)!r} is in two of them and "
            f"{min(others - classes['train'])!r} is not in train"
        )
    return bool(both)


def _tell_of_others(folder: Path, told: dict[Split, Files], read: set[Path]) -> None:
    """Warn of what a user may have thought is read: loose pictures, folders without any, and of an absent val."""
    others = [file for file in _pictures_below(folder, 3) if file not in read]
    if others:
        more = f" and {len(others) - 1:,} more are" if len(others) > 1 else " is"
        beside = "beside or below the folders of classes"
        warnings.warn(f"{folder}: {others[0].relative_to(folder)}{more} not read, {beside}", stacklevel=2)
    empty = [sub for sub in _subfolders(folder) if not _pictures_below(sub, 2)]
    if empty:
        warnings.warn(f"{empty[0]} holds no pictures of a known kind, and is passed over", stacklevel=2)
    if len(told) > 1 and "validation" not in told:
        warnings.warn(f"{folder} has train and test but no val: there is nothing for validation", stacklevel=2)


def _pictures_below(folder: Path, depth: int) -> list[Path]:
    deeper = [file for sub in _subfolders(folder) for file in _pictures_below(sub, depth - 1)] if depth else []
    return pictures_in(folder) + deeper
