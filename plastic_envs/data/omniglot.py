"""Omniglot in its original zip files: handwritten characters of many alphabets, 20 drawings each."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from plastic_envs.data.archives import read_zip
from plastic_envs.data.files import find, is_folder, listing, named_folder
from plastic_envs.data.labelled import LabelledData, Split
from plastic_envs.data.pictures import read_picture, reduce
from plastic_envs.utils.errors import MissingFileError, UsageError

BACKGROUND = ("images_background", "images_background_small1", "images_background_small2")
EVALUATION = ("images_evaluation",)
SIZE = 31  # Miconi et al. 2018, section 4.4
TESTED = 100  # characters: the same section
MOST_OF_ONE, MOST_OF_ALL = 2**20, 2**26  # bytes: a drawing has some 300, all together 16 million

Drawings = dict[tuple[str, str], Tensor]
"""Bytes (n, 31, 31), ink 255, of each alphabet and character."""


def load(split: Literal["alphabets", "characters"] = "alphabets", folder: str | Path | None = None) -> LabelledData:
    """The characters of the sets that are found, reduced to 31×31 pixels, ink 1.

    The full sets are images_background.zip and images_evaluation.zip, smaller ones images_background_small1.zip and
    images_background_small2.zip, all by Lake, Salakhutdinov and Tenenbaum, "Human-level concept learning through
    probabilistic program induction", Science 2015. An alphabet that several sets have is taken once.

    Args:
        split: By whole "alphabets": those of the evaluation set are for testing, or else the last quarter of all in
            alphabetical order, and the one before them for validation. Or by "characters", drawn with a fixed seed:
            100 for testing, as Miconi et al. 2018 have it, or a quarter if there are fewer than 400, and as many for
            validation.
        folder: Where the zip files are, or the folders that they hold, there or in a subfolder "omniglot" (or
            torchvision's "omniglot-py"); by default the folder that the environment variable PLASTIC_ENVS_DATA names.

    Raises:
        UsageError: no set is there, or a file is damaged.
    """
    chosen = named_folder(folder)
    looked_for = {
        name: find(chosen, ("omniglot", "omniglot-py"), (f"{name}.zip", name)) for name in BACKGROUND + EVALUATION
    }
    found = tuple((name, path) for name, path in reversed(looked_for.items()) if path is not None)
    if not found:
        where = f"put it into {chosen}" if chosen else "set PLASTIC_ENVS_DATA to the folder that it is in"
        raise MissingFileError(f"data set 'omniglot' needs images_background.zip or a smaller set of it: {where}")
    return _arrange(split, found)


@lru_cache(maxsize=2)
def _arrange(split: str, sets: tuple[tuple[str, Path], ...]) -> LabelledData:
    drawings: Drawings = {}
    of_evaluation: set[str] = set()
    for name, path in sets:
        read = _read(path)
        drawings |= {key: value for key, value in read.items() if key not in drawings}
        of_evaluation |= {alphabet for alphabet, _ in read} if name in EVALUATION else set()
    characters = sorted(drawings)
    parts = _by_alphabet(characters, of_evaluation) if split == "alphabets" else _by_character(len(characters))
    labels = [label for label, key in enumerate(characters) for _ in drawings[key]]
    return LabelledData(torch.cat([drawings[key] for key in characters]), torch.tensor(labels), splits=parts)


def _by_alphabet(characters: list[tuple[str, str]], of_evaluation: set[str]) -> dict[Split, list[int]]:
    alphabets = sorted({alphabet for alphabet, _ in characters})
    tested = sorted(of_evaluation) or alphabets[len(alphabets) - max(1, len(alphabets) // 4) :]
    others = [alphabet for alphabet in alphabets if alphabet not in tested]
    validated = others[-max(1, len(others) // 6) :]

    def of(chosen: list[str]) -> list[int]:
        return [label for label, (alphabet, _) in enumerate(characters) if alphabet in chosen]

    return {"train": of([a for a in others if a not in validated]), "validation": of(validated), "test": of(tested)}


def _by_character(n: int) -> dict[Split, list[int]]:
    tested = min(TESTED, n // 4)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0)).tolist()
    return {
        "test": sorted(order[:tested]),
        "validation": sorted(order[tested : 2 * tested]),
        "train": sorted(order[2 * tested :]),
    }


def _read(path: Path) -> Drawings:
    """All drawings below alphabet/character/ of a zip file or folder."""
    gathered: dict[tuple[str, str], list[Tensor]] = {}
    for member, content in _of_folder(path) if is_folder(path) else read_zip(path, ".png", MOST_OF_ONE, MOST_OF_ALL):
        parts = member.split("/")
        if len(parts) >= 3:
            picture = read_picture(content, f"{path}: {member}", grey=True)
            gathered.setdefault((parts[-3], parts[-2]), []).append(reduce(255 - picture, SIZE))
    if not gathered:
        raise UsageError(f"{path} holds no drawings: they must lie below alphabet/character/")
    return {key: torch.stack(pictures) for key, pictures in gathered.items()}


def _of_folder(path: Path) -> Iterator[tuple[str, Path]]:
    """Names and places of the PNG files, in order."""
    for alphabet in filter(is_folder, listing(path)):
        for character in filter(is_folder, listing(alphabet)):
            for file in listing(character):
                if file.suffix.lower() == ".png":
                    yield f"{alphabet.name}/{character.name}/{file.name}", file
