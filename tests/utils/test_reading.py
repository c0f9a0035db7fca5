"""Files that are no files, or far too large, are refused before they are opened."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import agents
from evolution.runs.checkpoint import load_checkpoint
from evolution.runs.history import read_rows
from evolution.runs.steps import read_steps
from plastic_envs.data.archives import read_zip
from plastic_envs.utils.errors import UsageError
from plastic_envs.utils.reading import read_json
from plastic_envs.utils.writing import write_atomically


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
    "file of the system that waits": (
        lambda path: path.symlink_to("/proc/kmsg"),
        "is damaged|does not hold|cannot read",
    ),
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


def test_a_pipe_that_takes_the_place_of_a_file_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    os.mkfifo(path)
    regular = os.stat(__file__)
    monkeypatch.setattr(os, "stat", lambda *_, **__: regular)
    with pytest.raises(UsageError, match="it is a named pipe, not a file"):
        read_json(path)


@pytest.mark.parametrize("read", [load_checkpoint, lambda path: next(read_zip(path, ".png", 1, 10**8))])
def test_an_archive_of_many_entries(read: Callable[[Path], Any], tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(b"PK\1\2" * 400_000)
    with pytest.raises(UsageError, match="it holds 400,000 files, and at most 80,000 are read"):
        read(path)


@pytest.mark.parametrize("kind", ["deep", "shared"])
def test_a_checkpoint_that_nests_without_end(kind: str, tmp_path: Path) -> None:
    """Pickles make nested things without nesting themselves; of one that is held twice at each depth, 2⁶⁰ leaves."""
    value: Any = [0]
    for _ in range(60 if kind == "shared" else 5000):
        value = [value, value] if kind == "shared" else [value]
    recursion, path = sys.getrecursionlimit(), tmp_path / "checkpoint.pt"
    sys.setrecursionlimit(10**6)
    try:
        torch.save({"rows": value}, path)
    finally:
        sys.setrecursionlimit(recursion)
    with pytest.raises(UsageError, match="not loaded"):
        load_checkpoint(path)
