"""Agents as files: written, and read back without running anything."""

import contextlib
import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from agents.agent import Agent
from agents.factory import make
from agents.species import Species
from plastic_envs.utils.errors import MissingFileError, OccupiedFolderError, UsageError
from plastic_envs.utils.reading import check_file, read_json
from plastic_envs.utils.registry import check_trusted
from plastic_envs.utils.writing import make_folder, write_atomically

FORMAT = 1
WEIGHTS, SETTINGS = "agent.safetensors", "agent.json"
MARK = "plastic-envs"
"""Key of the words that `save` writes beside the weights: one, as safetensors does not keep the order of several."""


def save(agent: Agent, folder: str | Path, *, words: Mapping[str, str] | None = None) -> None:
    """Write `agent.safetensors` and `agent.json` into a folder, which is made if missing; each in one moment.

    Args:
        agent: The agent.
        folder: Where to.
        words: What to keep beside the weights, see `read_words`.

    Raises:
        UsageError: there is a file of the folder's name, or it cannot be written.
    """
    folder = Path(folder)
    if os.path.exists(folder) and not os.path.isdir(folder):  # which are false where a name is none
        raise OccupiedFolderError(f"{folder} is a file: an agent is saved into a folder")
    text = json.dumps({"format": FORMAT, "agent": agent.config}, indent=2, sort_keys=True)
    weights = _tensors(agent)
    hashes = {"agent": _digest(agent.config), "weights": _digest_weights(weights)}
    mark = json.dumps({**(words or {}), **hashes}, sort_keys=True)
    make_folder(folder)
    write_atomically(folder / WEIGHTS, safetensors.torch.save(weights, {MARK: mark}))
    write_atomically(folder / SETTINGS, (text + "\n").encode())


def digest(agent: Agent, settings: Any = None) -> str:
    """A hash of an agent's settings and weights; of one that was read, `settings` are those that `settings_saved`."""
    text = _digest(agent.config if settings is None else settings)
    return hashlib.sha256(text.encode() + safetensors.torch.save(_tensors(agent))).hexdigest()


def settings_saved(folder: str | Path) -> Any:
    """The settings of an agent in a folder, in the words of the version that wrote them.

    Raises:
        UsageError: the file is missing or damaged.
    """
    return read_json(Path(folder) / SETTINGS).get("agent")


def read_words(folder: str | Path) -> dict[str, str]:
    """The words that `save` wrote beside the weights, with hashes: "agent" of the settings, and "weights".

    Old files have no hash of the weights, or no words.

    Raises:
        UsageError: the file is missing or damaged.
    """
    with _opened(Path(folder) / WEIGHTS) as file:
        return _words(file)


def load(folder: str | Path, *, trust: Collection[str] = ()) -> Agent:
    """Read an agent back; nothing in the folder is run.

    Args:
        folder: Where `save` wrote it.
        trust: Names `module:Name` of your own rules, networks and cells that the file may name; importing one runs
            its module.

    Raises:
        UsageError: a file is missing or damaged, or names a user's own code that is not trusted; or a weight is
            missing, not finite, of another shape or type, or not what was saved.
    """
    folder = Path(folder)
    path = folder / SETTINGS
    try:
        if not path.exists():
            raise MissingFileError(f"{folder}: there is no agent here (agent.json is missing)")
        settings = read_json(path)
        if settings["format"] != FORMAT:
            raise UsageError(f"{path}: format {settings['format']!r}: this version reads {FORMAT}")
        config = dict(settings["agent"])
        members = [dict(member) for member in config.pop("species", [config])]
        for member in members:
            for value in member.values():
                if isinstance(value, str):
                    check_trusted(path, value, trust)
        made = [make(**member) for member in members]
        agent = made[0] if len(made) == 1 else Species(made)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path} is damaged: {type(error).__name__}: {error}") from None
    with _opened(folder / WEIGHTS) as file:
        words = _words(file)
        mark = words.get("agent")
        if mark is not None and mark != _digest(settings["agent"]):
            raise ValueError(f"they were saved with another {SETTINGS}")
        weights = _weights(file, agent.state_dict(), ours=mark is not None)
        if "weights" in words and words["weights"] != _digest_weights(weights):
            raise ValueError("they were changed since they were saved, or the file is damaged")
        agent.load_state_dict(weights)
    return agent


def _weights(file: Any, wanted: Mapping[str, Tensor], *, ours: bool) -> dict[str, Tensor]:
    """Weights by the names and of the shapes and types that are wanted, of which the memory for others is not taken.

    Args:
        file: As safetensors opens it.
        wanted: An agent's state.
        ours: Whether `save` wrote it. A user may have made the agent double; it is loaded as it was made.
    """
    if others := sorted({*file.keys()} ^ {*wanted}):
        raise ValueError(f"{others[0]!r} is {'missing' if others[0] in wanted else 'none of its tensors'}")
    weights: dict[str, Tensor] = {}
    for name, mine in wanted.items():
        shape = tuple(file.get_slice(name).get_shape())
        if shape != mine.shape:
            raise ValueError(f"{name!r} has the shape {shape}, not {tuple(mine.shape)}")
        value = weights[name] = file.get_tensor(name)
        if value.dtype != mine.dtype and not (ours and value.dtype == torch.float64 and mine.is_floating_point()):
            raise ValueError(f"{name!r} is of type {_named(value.dtype)}, not {_named(mine.dtype)}")
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ValueError(f"{name!r} holds {float(value[~value.isfinite()][0])}, which is no finite number")
    return weights


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The weights' file; whatever is found wrong with it is said of it."""
    check_file(path, blowup=2)
    try:
        with safetensors.safe_open(path, "pt") as file:  # compares sizes and places in its head with the file's size
            yield file
    except Exception as error:  # safetensors and torch raise many kinds; each means that the file does not fit
        if isinstance(error, UsageError):
            raise
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"{path} does not hold this agent's weights: {first}") from None


def _tensors(agent: Agent) -> dict[str, Tensor]:
    return {name: value.detach().contiguous() for name, value in agent.state_dict().items()}


def _words(file: Any) -> dict[str, str]:
    """What `save` put beside the weights, if it wrote the file."""
    words = json.loads((file.metadata() or {}).get(MARK, "{}"))
    if not isinstance(words, dict):
        raise ValueError(f"its words are {words!r}")
    return words


def _digest(settings: Any) -> str:
    """A hash of an agent's settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _digest_weights(weights: Mapping[str, Tensor]) -> str:
    """A hash of weights, whatever is kept beside them."""
    return hashlib.sha256(safetensors.torch.save(dict(weights))).hexdigest()


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
