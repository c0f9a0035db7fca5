"""Files of different runs are not taken for one, and a process works in the folder that it began in or not at all."""

import errno
import json
import os
import shutil
import signal
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

import agents
import evolution
from evolution import evaluate, load_run, train, transfer
from evolution.cli import main
from evolution.runs.resumable import folder_lock
from evolution.runs.steps import read_steps
from plastic_envs.utils.errors import UsageError
from plastic_envs.utils.writing import append, make_folder, remove, write_atomically
from tests.helpers.runs import numbers, settings

SEEDS = [settings(budget=8 * 16, evals=4, eval_episodes=4, seed=seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs that differ in their seeds, stopped half-way, and finished."""
    parent = tmp_path_factory.mktemp("runs")

    def interrupt(progress):
        if progress.episodes >= 5 * 16:
            os.kill(os.getpid(), signal.SIGINT)

    for run in SEEDS:
        train(run, parent / f"stopped {run.seed}", progress=interrupt)
        train(run, parent / f"whole {run.seed}")
    return parent


@pytest.mark.parametrize("name", ["checkpoint.pt", "history.csv", "steps.csv"])
def test_a_stopped_run_does_not_go_on_with_a_file_of_another(name, runs, tmp_path):
    shutil.copytree(runs / "stopped 0", tmp_path / "run")
    shutil.copy(runs / "stopped 1" / name, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    with pytest.raises(
        UsageError, match=r"that of a run with other settings|not those of this run's checkpoint|not of one run"
    ) as error:
        train(SEEDS[0], tmp_path / "run", resume=True)
    assert name in str(error.value)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()} == before


@pytest.mark.parametrize("column", [2, 3, 6, 7])
def test_an_edited_history_is_refused(column, runs, tmp_path):
    shutil.copytree(runs / "stopped 0", tmp_path / "run")
    lines = (tmp_path / "run" / "history.csv").read_text().splitlines()
    cells = lines[2].split(",")
    cells[column] = "0.5"
    (tmp_path / "run" / "history.csv").write_text("\n".join([*lines[:2], ",".join(cells), *lines[3:]]) + "\n")
    with pytest.raises(UsageError, match=r"history\.csv is damaged: its first 3 rows are not those"):
        train(SEEDS[0], tmp_path / "run", resume=True)


def test_all_logs_and_the_checkpoint_of_another_run_are_refused_by_the_settings(runs, tmp_path):
    shutil.copytree(runs / "stopped 1", tmp_path / "run")
    shutil.copy(runs / "stopped 0" / "config.json", tmp_path / "run")
    with pytest.raises(UsageError, match="is that of a run with other settings"):
        train(SEEDS[0], tmp_path / "run", resume=True)
    with pytest.raises(UsageError, match=r"agent\.safetensors is that of a run with other settings"):
        load_run(tmp_path / "run")


def test_checkpoints_of_earlier_versions_go_on(runs, tmp_path):
    from evolution.runs.checkpoint import load_checkpoint, save_checkpoint

    shutil.copytree(runs / "stopped 0", tmp_path / "run")
    state = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    del state["digests"]
    save_checkpoint(tmp_path / "run" / "checkpoint.pt", state)
    train(SEEDS[0], tmp_path / "run", resume=True)
    assert numbers(tmp_path / "run") == numbers(runs / "whole 0")


@pytest.mark.parametrize("command", ["evaluate", "rule", "report"])
@pytest.mark.parametrize("name", ["agent.safetensors", "result.json"])
def test_what_is_of_another_run_is_not_shown(name, command, runs, tmp_path, capsys):
    shutil.copytree(runs / "whole 0", tmp_path / "run")
    shutil.copy(runs / "whole 1" / name, tmp_path / "run")
    reads = name == "agent.safetensors" or command == "report"
    assert main([command, str(tmp_path / "run")]) == (2 if reads else 0)
    assert (name in capsys.readouterr().err) == reads


def test_a_result_of_another_run_is_not_taken_for_the_end(runs, tmp_path):
    """Nor with all else that is of that run, and whatever its scores are."""
    shutil.copytree(runs / "whole 1", tmp_path / "moved")
    shutil.copy(runs / "whole 0" / "config.json", tmp_path / "moved")
    with pytest.raises(UsageError, match=r"result\.json is that of a run with other settings"):
        train(SEEDS[0], tmp_path / "moved", resume=True)


def test_a_result_of_earlier_versions_has_the_scores_of_its_history(runs, tmp_path):
    shutil.copytree(runs / "whole 0", tmp_path / "run")
    values = json.loads((runs / "whole 1" / "result.json").read_text())
    del values["run"]
    (tmp_path / "run" / "result.json").write_text(json.dumps(values))
    with pytest.raises(UsageError, match=r"result\.json and history\.csv are not of one run: metric"):
        train(SEEDS[0], tmp_path / "run", resume=True)


def test_a_transfer_knows_its_agents(runs, tmp_path):
    task = "SequenceReproduction,seq_length=1,delay=0"
    shutil.copytree(runs / "whole 0", tmp_path / "agent")
    transfer([tmp_path / "agent"], [task], tmp_path / "out", retrainings=2)
    shutil.rmtree(tmp_path / "agent")
    shutil.copytree(runs / "whole 1", tmp_path / "agent")
    with pytest.raises(UsageError, match="started with another agent of the name 'agent'"):
        transfer([tmp_path / "agent"], [task], tmp_path / "out", retrainings=2, resume=True)


@pytest.mark.parametrize("dtype", ["int64", "complex64", "float16", "bfloat16", "float64", "bool", "uint8"])
def test_weights_of_another_type_are_refused(dtype, runs, tmp_path):
    shutil.copytree(runs / "whole 0", tmp_path / "run")
    path = tmp_path / "run" / "agent.safetensors"
    name, value = next((name, value) for name, value in load_file(path).items() if value.dtype == torch.float32)
    save_file(load_file(path) | {name: value.to(getattr(torch, dtype))}, path)
    with pytest.raises(UsageError, match=f"'{name}' is of type {dtype}, not float32"):
        agents.load(tmp_path / "run")


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_weights_that_are_not_finite_are_refused(number, runs, tmp_path):
    shutil.copytree(runs / "whole 0", tmp_path / "run")
    path = tmp_path / "run" / "agent.safetensors"
    weights = load_file(path)
    name = next(iter(weights))
    weights[name].view(-1)[-1] = float(number)
    save_file(weights, path)
    with pytest.raises(UsageError, match=f"'{name}' holds {number}, which is no finite number"):
        agents.load(tmp_path / "run")


def test_missing_further_and_misshapen_weights_are_named(tmp_path):
    agents.save(agents.make(5, 2, hidden=4), tmp_path)
    path = tmp_path / "agent.safetensors"
    weights = load_file(path)
    name = min(weights)
    for changed, says in (
        ({key: value for key, value in weights.items() if key != name}, f"'{name}' is missing"),
        (weights | {"zz": torch.zeros(1)}, "'zz' is none of its tensors"),
        (weights | {name: torch.zeros(0)}, rf"'{name}' has the shape \(0,\)"),
    ):
        save_file(changed, path)
        with pytest.raises(UsageError, match=says):
            agents.load(tmp_path)


def test_an_agent_that_was_made_double_is_loaded_as_it_was_made(tmp_path):
    agent = agents.make(5, 2, hidden=4)
    agents.save(agent.double(), tmp_path)
    loaded = agents.load(tmp_path)
    assert all(torch.equal(value, agent.float().state_dict()[name]) for name, value in loaded.state_dict().items())


def replaced(folder, how):
    """What others may do with a folder that a process works in."""
    if how in ("moved", "made again", "linked"):
        folder.rename(folder.with_name("elsewhere"))
    if how == "deleted":
        shutil.rmtree(folder)
    if how == "made again":
        folder.mkdir()
    if how == "linked":
        (folder.parent / "other").mkdir()
        folder.symlink_to(folder.parent / "other")


@pytest.mark.parametrize("how", ["moved", "deleted", "made again", "linked"])
def test_nothing_is_written_into_a_folder_that_took_the_place(how, tmp_path):
    folder = tmp_path / "run"

    def interfere(progress):
        if progress.episodes == 16:
            replaced(folder, how)

    with pytest.raises(UsageError, match=r"run is no longer the folder that this process works in"):
        train(SEEDS[0], folder, progress=interfere)
    assert not folder.exists() or not list(folder.iterdir())
    if how == "moved":
        shutil.move(tmp_path / "elsewhere", folder)
        train(SEEDS[0], folder, resume=True)


WRITES = {
    "append": lambda path: append(path, b"x"),
    "replace": lambda path: write_atomically(path, b"x"),
    "folder": make_folder,
    "remove": lambda path: remove(path.parent),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_every_way_to_write_looks_at_the_folder_first(write, tmp_path):
    with folder_lock(tmp_path / "a"):
        (tmp_path / "a" / "b").mkdir()
        (tmp_path / "a" / "b" / "file").touch()
        shutil.copytree(tmp_path / "a", tmp_path / "new")
        shutil.rmtree(tmp_path / "a")
        (tmp_path / "new").rename(tmp_path / "a")  # as another process would make it
        with pytest.raises(UsageError, match="no longer the folder"):
            write(tmp_path / "a" / "b" / "file")
        append(tmp_path / "file", b"x")  # elsewhere it may
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b""


def test_a_file_system_without_locks_is_warned_of(tmp_path, monkeypatch, caplog):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with folder_lock(tmp_path / "a"):
        write_atomically(tmp_path / "a" / "file", b"x")
    assert "cannot be locked (No locks available)" in caplog.text


def test_steps_of_a_diverged_run_reach_to_its_end(tmp_path):
    run = settings("backprop,batch_size=16,learning_rate=1e38,optimizer=sgd,clip=1e38", budget=160, evals=1)
    told = []
    assert train(run, tmp_path / "run", progress=told.append).status == "diverged"
    assert told
    assert read_steps(tmp_path / "run" / "steps.csv")["episodes"] == [progress.episodes for progress in told]
    assert train(run, tmp_path / "run", resume=True).status == "diverged"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("which", [0, 1, 4])
def test_an_evaluation_does_not_hold_up_a_signal(which, number, runs, tmp_path, monkeypatch):
    calls = []

    def evaluating(*args, **options):
        calls.append(time.monotonic())
        if len(calls) == which + 1:
            os.kill(os.getpid(), number)
            time.sleep(60)  # it would have taken this long
        return evaluate(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr("evolution.runs.train.evaluate", evaluating)
        result = train(SEEDS[0], tmp_path / "run")
    assert time.monotonic() - calls[-1] < 30
    assert (result.status, result.episodes) == ("interrupted", which * 2 * 16)
    assert train(SEEDS[0], tmp_path / "run", resume=True).status == "finished"
    assert numbers(tmp_path / "run") == numbers(runs / "whole 0")


@pytest.mark.parametrize("command", ["evaluate", "rule", "report"])
def test_a_run_that_has_not_begun_is_none(command, tmp_path, monkeypatch, capsys):
    def evaluating(*args, **options):
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr("evolution.runs.train.evaluate", evaluating)
        train(SEEDS[0], tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"config.json"}
    assert main([command, str(tmp_path / "run")]) == 2
    assert "this run has not begun" in capsys.readouterr().err


def test_what_is_refused_leaves_no_folder(tmp_path):
    searcher = "pgpe,worlds=mixed,popsize=10,episodes=2"
    mixed = evolution.RunSettings("Foraging,n_agents=3,length=4", searcher=searcher, hidden=4, eval_episodes=24)
    with pytest.raises(UsageError, match="10 individuals cannot meet in worlds of 3 agents"):
        train(mixed, tmp_path / "mixed")
    for searcher, says in (
        ("tests.helpers.doomed:Choosy", "not this task"),
        ("alleles,popsize=8,theta=1e9", "theta × loss"),
    ):
        with pytest.raises(UsageError, match=says):
            train(settings(searcher), tmp_path / "first step")
        assert not (tmp_path / "first step").exists()
    assert not (tmp_path / "mixed").exists()


def test_kept_trainings_know_their_agents(tmp_path):
    from tests.claims.test_claims_memory import contest

    given = evolution.ClaimSettings(folder=tmp_path / "parts")
    contest().run(given)
    one, other = (tmp_path / "parts" / name for name in ("ours-seed-0", "theirs-seed-0"))
    shutil.copy(other / "agent.safetensors", one)
    curve = json.loads((one / "curve.json").read_text())
    if curve["weights"] == json.loads((other / "curve.json").read_text())["weights"]:
        weights = load_file(one / "agent.safetensors")
        weights[min(weights)] += 1
        save_file(weights, one / "agent.safetensors")
    with pytest.raises(UsageError, match=r"not the agent that curve\.json tells of"):
        contest().run(given)
