"""Whatever is killed, wherever: what is left is what there was, or can be gone on with, or begun again."""

import errno
import json
import os
import shutil
from functools import partial
from unittest.mock import Mock

import pytest

import agents
import evolution
from evolution import Grid, load_run, train, transfer
from evolution.claims import ClaimSettings, Finding
from evolution.claims.learners import train_all
from evolution.claims.trainings import Learner, Training
from evolution.runs.event_log import EventLog
from evolution.runs.run_folder import RunFolder
from plastic_envs import make_task
from plastic_envs.utils.errors import UsageError
from tests.helpers import in_process
from tests.helpers.faults import Disk, PowerCut, operations
from tests.helpers.runs import TASK, numbers, settings

NEW, OLD = (settings(budget=32, evals=1, eval_episodes=4, seed=seed) for seed in (0, 1))
GRID = Grid((TASK,), ("none",), ("backprop,batch_size=16",), seeds=(0,), budget=16, hidden=4, eval_episodes=4, evals=1)
ELSEWHERE = "OnlineClassification,source=halfspace,n_train=4,n_query=3"
CLAIM = f"{__name__}:two_are_trained"


def two_are_trained(given: ClaimSettings) -> Finding:
    """A claim that keeps two trainings."""
    task = make_task(TASK)
    learner = Learner(make_one, "backprop,batch_size=8")
    curves = train_all([Training("one", learner, task, 8, given.seed + seed, 1, 4) for seed in (0, 1)], given)
    figures = [
        {"episodes": n, "metric": x} for curve in curves for n, x in zip(curve.episodes, curve.metric, strict=True)
    ]
    return Finding("None.", "nowhere", True, "so", figures, lambda canvas: None)


def make_one(seed):
    return agents.make_for(make_task(TASK), rule="none", hidden=2, seed=seed)


def refusal(work):
    """The sentence of a refusal, None if all is well."""
    try:
        work()
    except UsageError as error:
        return str(error)
    return None


def stop(progress):
    os.kill(os.getpid(), 2)


def without_clocks(folder, name):
    return [line.rsplit(",", 2)[0] for line in (folder / name).read_text().splitlines()]


class Job:
    """Something that writes into a folder, over nothing or over what was there."""

    def before(self, folder):
        """What is there when it begins."""

    def seen(self, folder):
        """What it leaves, that must be the same on every way there."""

    def readable(self, folder):
        """What a reader finds meanwhile is never a mixture."""


class Train(Job):
    def __init__(self, before=None, **how):
        self._before, self.how = before, how

    def before(self, folder):
        if self._before is not None:
            self._before(folder)

    def run(self, folder):
        train(NEW, folder, **self.how)

    def go_on(self, folder):
        """As one would who finds the folder: with the settings it has."""
        found = RunFolder(folder)
        if found.config.exists() and found.read_settings() == OLD:
            assert train(OLD, folder, resume=True).status == "finished"
            assert numbers(folder) == numbers(whole(OLD))
            train(NEW, folder, overwrite=True)
        else:
            train(NEW, folder, resume=True)

    def seen(self, folder):
        return numbers(folder)

    def readable(self, folder):
        if told := refusal(lambda: load_run(folder)):
            assert any(words in told for words in ("has not begun", "it has no config.json"))
            return
        run = load_run(folder)
        if run.result is not None and run.result.status == "finished":
            kept = load_run(whole(run.settings))
            assert run.result.metric == kept.result.metric
            mine, its = run.agent.state_dict(), kept.agent.state_dict()
            assert all(mine[name].equal(its[name]) for name in its)


class Compare(Job):
    def __init__(self, begun=False):
        self.begun = begun

    def before(self, folder):
        if self.begun:
            with Disk(20):
                in_process.compare(GRID, folder)

    def run(self, folder):
        in_process.compare(GRID, folder, resume=self.begun)

    def go_on(self, folder):
        in_process.compare(GRID, folder, resume=True)

    def seen(self, folder):
        assert (folder / "table.md").exists()
        return without_clocks(folder, "results.csv")


class Transfer(Job):
    def run(self, folder, **how):
        networks = ["feedback,hidden=3", "feedback,hidden=4"]
        transfer(["pseudo-gradient"], [ELSEWHERE], folder, networks=networks, retrainings=2, **how)

    def go_on(self, folder):
        self.run(folder, resume=True)

    def seen(self, folder):
        return [(folder / name).read_bytes() for name in ("transfer.json", "transfer.csv", "table.md")]


class Claim(Job):
    """One seed's claim, over nothing, another seed's, or the beginning of that."""

    def __init__(self, before=None):
        self._before = before

    def before(self, folder):
        if self._before is not None:
            with Disk(self._before):
                evolution.claim(CLAIM, out=folder, seed=7)

    def run(self, folder):
        evolution.claim(CLAIM, out=folder, overwrite=self._before is not None)

    def go_on(self, folder):
        if told := refusal(lambda: evolution.claim(CLAIM, out=folder, resume=True)):
            if "already holds a claim" in told:  # the old one, finished
                assert json.loads((folder / "claim.json").read_text())["settings"]["seed"] == 7
            else:
                assert "seed=7: resume it with that" in told
                evolution.claim(CLAIM, out=folder, resume=True, seed=7)
            evolution.claim(CLAIM, out=folder, overwrite=True)

    def seen(self, folder):
        return [(folder / name).read_bytes() for name in ("figures.csv", "claim.json")]


JOBS = {
    "new run": Train(),
    "interrupted run": Train(lambda folder: train(NEW, folder, progress=stop), resume=True),
    "run over a finished one": Train(lambda folder: train(OLD, folder), overwrite=True),
    "run over an interrupted one": Train(lambda folder: train(OLD, folder, progress=stop), overwrite=True),
    "comparison": Compare(),
    "comparison that was begun": Compare(begun=True),
    "transfer": Transfer(),
    "claim": Claim(),
    "claim over a finished one": Claim(before=10**6),
    "claim over one that was begun": Claim(before=30),
}
_WHOLE: dict = {}


@pytest.fixture(scope="module", autouse=True)
def _whole(tmp_path_factory):
    for run in (NEW, OLD):
        folder = tmp_path_factory.mktemp("whole") / "run"
        train(run, folder)
        _WHOLE[json.dumps(run.to_json())] = folder


def whole(run):
    """The folder of a run that nothing happened to."""
    return _WHOLE[json.dumps(run.to_json())]


@pytest.fixture(scope="module", params=JOBS)
def begun(request, tmp_path_factory):
    """A job's name, it, the folder it begins with (if any), what it leaves undisturbed, and its operations on files."""
    parent, job = tmp_path_factory.mktemp("jobs"), JOBS[request.param]
    job.before(parent / "before")
    job.run(parent / "warm")  # what is written at the first import is none of its operations
    start = parent / "before" if (parent / "before").exists() else None
    if start is not None:
        shutil.copytree(start, parent / "whole")
    count = operations(lambda: job.run(parent / "whole"))
    return request.param, job, start, job.seen(parent / "whole"), count


def begin(start, folder):
    if start is not None:
        shutil.copytree(start, folder)


def points(name, count, every):
    """Operations to fail at: all, or one of so many, others for every job."""
    return range(len(name) % every, count, every)


def tries(every):
    """One of so many operations, and all of them in the slow tests."""
    return pytest.mark.parametrize("every", [every, pytest.param(1, marks=pytest.mark.slow)])


def killed(job, at, folder):
    """Begin, be killed, and go on."""
    with Disk(at) as disk:
        job.run(folder)
    assert disk.struck
    job.readable(folder)
    job.go_on(folder)


@tries(8)
def test_killed_at_an_operation_on_files(begun, every, tmp_path):
    name, job, start, seen, count = begun
    assert count > 20
    for at in points(name, count, min(every, 3) if name == "run over a finished one" else every):
        begin(start, tmp_path / str(at))
        killed(job, at, tmp_path / str(at))
        assert job.seen(tmp_path / str(at)) == seen, at


@tries(20)
@pytest.mark.parametrize("names", [False, True], ids=["nothing unsynced is there", "names are, contents are not"])
def test_the_power_is_cut_at_an_operation_on_files(begun, names, every, tmp_path):
    name, job, start, seen, count = begun
    for at in (*points(name, count, every), count):
        root = tmp_path / str(at)
        root.mkdir()
        begin(start, root / "out")
        with PowerCut(at, root) as disk:
            job.run(root / "out")
        folder = disk.remains(tmp_path / f"{at} after", names=names) / "out"
        if at == count:
            assert job.seen(folder) == seen  # what has ended is there for good
        job.go_on(folder)
        assert job.seen(folder) == seen, at


@tries(20)
@pytest.mark.parametrize(
    ("code", "only"),
    [(errno.ENOSPC, True), (errno.EROFS, False), pytest.param(errno.EIO, False, marks=pytest.mark.slow)],
)
def test_an_error_of_the_system_is_one_sentence_and_loses_nothing(begun, code, only, every, tmp_path, capfd):
    name, job, start, seen, count = begun
    for at in points(name, count, every):
        folder = tmp_path / str(at)
        begin(start, folder)
        with Disk(at, code, only=only):
            told = refusal(partial(job.run, folder))
        assert told is None or (os.strerror(code) in told and "\n" not in told)
        job.go_on(folder)
        assert job.seen(folder) == seen, at
    assert "Traceback" not in capfd.readouterr().err


def test_a_run_outlives_its_event_files(tmp_path, caplog):
    pytest.importorskip("tensorboard")
    (tmp_path / "run").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EventLog, "_open", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
        assert train(NEW, tmp_path / "run").status == "finished"
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "no event files from here on, the run goes on"
    ]
    assert numbers(tmp_path / "run") == numbers(whole(NEW))
