"""Files that are no files, or far too large, are refused before they are opened."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import agents
from evolution.checkpoint import load_checkpoint
from evolution.history import read_rows
from evolution.steps import read_steps
from plastic_envs.errors import UsageError
from plastic_envs.reading import read_json
from plastic_envs.writing import write_atomically


def agent(path: Path) -> Any:
    """Load the agent of which this is a file."""
    return agents.load(path.parent)


READERS: dict[str, Callable[[Path], Any]] = {
    "config.json": read_json,
    "history.csv": read_rows,
    "steps.csv": read_steps,
    "checkpoint.pt": load_checkpoint,
    "agent.json": agent,
    "agent.safetensors": agent,
}


def sparse(path: Path) -> None:
    """A file of 10 TB that takes no room on the disk."""
    path.touch()
    os.truncate(path, 10**13)


KINDS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "pipe": (os.mkfifo, "it is a named pipe, not a file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "it is a device, not a file"),
    "folder": (lambda path: path.mkdir(), "it is a folder, not a file"),
    "huge": (sparse, "10,000 GB"),
    "loop": (lambda path: path.symlink_to(path), "cannot read|no agent here"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_or_too_large_is_refused_by_name(name: str, kind: str, tmp_path: Path) -> None:
    agents.save(agents.make(3, 2, hidden=2), tmp_path)
    path = tmp_path / name
    path.unlink(missing_ok=True)
    make, says = KINDS[kind]
    make(path)
    with pytest.raises(UsageError, match=says) as caught:
        READERS[name](path)
    assert str(path) in str(caught.value) or kind == "loop"


def test_a_pipe_or_a_link_where_a_file_is_written_first_is_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json.tmp")
    write_atomically(tmp_path / "a.json", b"new")
    (tmp_path / "own").write_bytes(b"own")
    (tmp_path / "b.json.tmp").symlink_to(tmp_path / "own")
    write_atomically(tmp_path / "b.json", b"new")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes() == b"new"
    assert (tmp_path / "own").read_bytes() == b"own"
