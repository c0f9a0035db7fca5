"""Nothing in a folder runs code, and nothing but what a searcher put there is taken for its checkpoint."""

import collections
import contextlib
import os
import pickle
import random
import shutil

import pytest
import torch

from evolution import train
from evolution.runs.checkpoint import load_checkpoint, same_state, save_checkpoint
from plastic_envs.utils.errors import UsageError
from tests.helpers.runs import numbers, settings


@pytest.fixture(scope="module", params=["backprop", "pgpe"])
def interrupted(request, tmp_path_factory):
    """The settings and the folder of a run that was stopped half-way, and of the same run finished."""
    parent = tmp_path_factory.mktemp("runs")

    def interrupt(progress):
        if progress.episodes >= 10 * 16:
            os.kill(os.getpid(), 2)

    run = settings(request.param)
    train(run, parent / "stopped", progress=interrupt)
    train(run, parent / "whole")
    return run, parent / "stopped", parent / "whole"


@pytest.fixture
def folder(interrupted, tmp_path):
    """A copy of the stopped run, to be tampered with."""
    shutil.copytree(interrupted[1], tmp_path / "run")
    return tmp_path / "run"


def refused(run, folder, words):
    """Resuming ends in one sentence, and what was written before is still there."""
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(UsageError, match=words) as error:
        train(run, folder, resume=True)
    assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("where", [(), ("searcher",), ("searcher", "episodes")])
def test_code_in_a_checkpoint_is_never_run(zipped, where, interrupted, folder, tmp_path):
    state = load_checkpoint(folder / "checkpoint.pt")
    inner = state
    for key in where[:-1]:
        inner = inner[key]
    if where:
        inner[where[-1]] = Payload(tmp_path / "marker")
    else:
        state = Payload(tmp_path / "marker")
    torch.save(state, folder / "checkpoint.pt", _use_new_zipfile_serialization=zipped)
    words = "holds something other than tensors, numbers and strings, so it was not loaded" if zipped else "is damaged"
    refused(interrupted[0], folder, words)
    assert not (tmp_path / "marker").exists()
    (folder / "checkpoint.pt").write_bytes(pickle.dumps(Payload(tmp_path / "marker")))
    refused(interrupted[0], folder, "is damaged")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    "value", [torch.nn.Parameter(torch.zeros(2)), collections.OrderedDict(a=1), {1.5: 2}, torch.float32, {"a": 1j}]
)
def test_only_tensors_numbers_and_strings_are_read(value, interrupted, folder):
    state = load_checkpoint(folder / "checkpoint.pt")
    torch.save(state | {"loss_sum": value}, folder / "checkpoint.pt")
    refused(interrupted[0], folder, "holds something other than tensors, numbers and strings")


def changes():
    def put(*path):
        *keys, last, value = path

        def change(state):
            for key in keys:
                state = state[key]
            state[last] = value

        return change

    yield "an extra key", put("note", "hello")
    yield "an extra key inside", put("searcher", "note", torch.zeros(3))
    yield "a string for a number", put("searcher", "episodes", "many")
    yield "no searcher", lambda state: state.pop("searcher")
    yield "no clock", lambda state: state.pop("seconds")
    yield "a tensor for a number", put("searcher", "env_steps", torch.zeros(2))
    yield "a text for the sum", put("loss_sum", "a")
    yield "a list for the rows", put("rows", [1])


@pytest.mark.parametrize(("change"), [pytest.param(change, id=name) for name, change in changes()])
def test_anything_else_in_a_checkpoint_is_refused(change, interrupted, folder):
    state = load_checkpoint(folder / "checkpoint.pt")
    change(state)
    save_checkpoint(folder / "checkpoint.pt", state)
    refused(interrupted[0], folder, "is not a checkpoint of this run")


def tensors(state, path=()):
    for key, value in state.items() if isinstance(state, dict) else enumerate(state):
        if isinstance(value, torch.Tensor):
            yield (*path, key)
        elif isinstance(value, dict | list):
            yield from tensors(value, (*path, key))


def test_tensors_of_another_size_or_kind_are_refused(interrupted, folder):
    original = load_checkpoint(folder / "checkpoint.pt")
    for path in tensors(original):
        for wrong in (lambda t: torch.cat([t.flatten(), t.flatten()]), lambda t: t.double() * 1.5, lambda t: None):
            state = load_checkpoint(folder / "checkpoint.pt")
            inner = state
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = wrong(inner[path[-1]])
            save_checkpoint(folder / "checkpoint.pt", state)
            refused(interrupted[0], folder, "is not a checkpoint of this run")
            save_checkpoint(folder / "checkpoint.pt", original)


def test_checkpoint_of_another_run_is_refused(interrupted, folder, tmp_path):
    def interrupt(progress):
        os.kill(os.getpid(), 2)

    train(settings("snes" if "pgpe" in interrupted[0].searcher else "pgpe"), tmp_path / "other", progress=interrupt)
    shutil.copy(tmp_path / "other" / "checkpoint.pt", folder)
    refused(interrupted[0], folder, "is that of a run with other settings")


def test_damaged_checkpoint_is_refused_or_harmless(interrupted, folder):
    run, _, whole = interrupted
    path = folder / "checkpoint.pt"
    intact = path.read_bytes()
    for length in (0, 1, len(intact) // 2, len(intact) - 1):
        path.write_bytes(intact[:length])
        refused(run, folder, "checkpoint.pt is damaged")
    state = load_checkpoint(interrupted[1] / "checkpoint.pt")
    rng = random.Random(0)
    for _ in range(100):
        position = rng.randrange(len(intact))
        path.write_bytes(intact[:position] + bytes([intact[position] ^ 1 << rng.randrange(8)]) + intact[position + 1 :])
        with contextlib.suppress(UsageError):
            assert same_state(load_checkpoint(path), state), f"byte {position} changed what was read"
    path.write_bytes(intact)
    train(run, folder, resume=True)
    assert numbers(folder) == numbers(whole)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("history.csv", "", "history.csv is damaged"),
        ("history.csv", "a,b\n", "history.csv is damaged"),
        ("history.csv", "a,b\n" * 9, "history.csv is damaged: its columns are not"),
        ("steps.csv", "", "steps.csv is damaged: it has fewer than the"),
        ("steps.csv", "a,b\n" * 9, "steps.csv is damaged"),
        ("config.json", "{", "config.json is damaged"),
        ("config.json", "[]", "config.json is damaged"),
        ("config.json", '{"format": 99}', "format 99 is unknown"),
        ("result.json", '{"status": "finished"}', "result.json is damaged"),
    ],
)
def test_other_damaged_files_are_one_sentence(name, content, words, interrupted, folder):
    (folder / name).write_text(content)
    with pytest.raises(UsageError, match=words) as error:
        train(interrupted[0], folder, resume=True)
    assert "\n" not in str(error.value)
