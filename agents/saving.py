"""Agents as files: written, and read back without running anything."""

import json
from collections.abc import Collection
from pathlib import Path

import safetensors.torch

from agents.agent import Agent
from agents.factory import make
from agents.species import Species
from plastic_envs.errors import MissingFileError, OccupiedFolderError, UsageError
from plastic_envs.reading import check_file, read_json
from plastic_envs.registry import check_trusted

FORMAT = 1


def save(agent: Agent, folder: str | Path) -> None:
    """Write `agent.safetensors` and `agent.json` into a folder, which is made if missing.

    Raises:
        UsageError: there is a file of the folder's name.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise OccupiedFolderError(f"{folder} is a file: an agent is saved into a folder")
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(
        {name: value.detach().contiguous() for name, value in agent.state_dict().items()}, folder / "agent.safetensors"
    )
    text = json.dumps({"format": FORMAT, "agent": agent.config}, indent=2, sort_keys=True)
    (folder / "agent.json").write_text(text + "\n")


def load(folder: str | Path, *, trust: Collection[str] = ()) -> Agent:
    """Read an agent back; nothing in the folder is run.

    Args:
        folder: Where `save` wrote it.
        trust: Names `module:Name` of your own rules, networks and cells that the file may name; importing one runs
            its module.

    Raises:
        UsageError: a file is missing or damaged, or names a user's own code that is not trusted.
    """
    folder = Path(folder)
    try:
        if not (folder / "agent.json").exists():
            raise MissingFileError(f"{folder}: there is no agent here (agent.json is missing)")
        settings = read_json(folder / "agent.json")
        if settings["format"] != FORMAT:
            raise UsageError(f"{folder / 'agent.json'}: format {settings['format']!r}: this version reads {FORMAT}")
        config = dict(settings["agent"])
        members = [dict(member) for member in config.pop("species", [config])]
        for member in members:
            for value in member.values():
                if isinstance(value, str):
                    check_trusted(folder / "agent.json", value, trust)
        made = [make(**member) for member in members]
        agent = made[0] if len(made) == 1 else Species(made)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{folder / 'agent.json'} is damaged: {type(error).__name__}: {error}") from None
    check_file(folder / "agent.safetensors", blowup=2)
    try:
        weights = safetensors.torch.load_file(folder / "agent.safetensors")
        agent.load_state_dict(weights)
    except Exception as error:  # safetensors and torch raise many kinds; each means that the file does not fit
        raise UsageError(
            f"{folder / 'agent.safetensors'} does not hold this agent's weights: {str(error).splitlines()[0]}"
        ) from None
    return agent
