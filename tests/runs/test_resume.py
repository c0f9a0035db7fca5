"""A run that was killed, or interrupted, or ran into a full disk goes on to the numbers of one that never stopped."""

import contextlib
import errno
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from evolution import Searcher, load_run, train
from evolution.runs.signals import signals_noted
from plastic_envs.utils.errors import UsageError
from tests.helpers.runs import SEARCHERS, numbers, settings


@pytest.fixture(scope="module")
def processes():
    """Processes that are there at once: forked from one that has imported everything and run nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            "evolution.searchers.backprop",
            "evolution.searchers.evolutionary.evotorch_search",
            "evolution.searchers.policy_gradient.ppo",
            "torch._dynamo",
        ]
    )
    process = context.Process(target=print)  # the first one waits for the imports
    process.start()
    process.join()
    return context


def kill_and_resume(name, folder, processes, seconds, kills, rng):
    """Start or resume the run and kill it at a random moment, again and again; then let it finish."""
    run = settings(name)
    for _ in range(kills):
        process = processes.Process(target=train, args=(run, folder), kwargs={"resume": True})
        process.start()
        # Mostly within the run, sometimes while the process still starts
        time.sleep(rng.uniform(0, seconds))
        process.kill()
        process.join()
    return train(run, folder, resume=True)


def duration(name, folder, processes):
    """Seconds that the whole run takes in a process of its own."""
    start = time.perf_counter()
    process = processes.Process(target=train, args=(settings(name), folder))
    process.start()
    process.join()
    assert process.exitcode == 0
    return time.perf_counter() - start


@pytest.mark.parametrize("name", SEARCHERS)
def test_killed_and_resumed_equals_uninterrupted(name, tmp_path, processes):
    seconds = duration(name, tmp_path / "whole", processes)
    kill_and_resume(name, tmp_path / "killed", processes, seconds, 1, random.Random())
    assert numbers(tmp_path / "killed") == numbers(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("name", SEARCHERS)
def test_killed_ten_times_and_resumed_equals_uninterrupted(name, tmp_path, processes):
    seconds = duration(name, tmp_path / "whole", processes)
    for attempt in range(10):
        folder = tmp_path / f"killed-{attempt}"
        kill_and_resume(name, folder, processes, seconds, 1 + attempt % 3, random.Random(attempt))
        assert numbers(folder) == numbers(tmp_path / "whole")


@pytest.mark.parametrize("name", ["backprop", "pgpe"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_run_after_the_step_and_it_can_go_on(name, number, tmp_path):
    def interrupt(progress):
        if progress.episodes == 10 * 16:  # between two evaluations
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    result = train(settings(name), tmp_path / "stopped", progress=interrupt)
    assert signal.getsignal(number) is before
    assert (result.status, result.episodes) == ("interrupted", 10 * 16)
    assert load_run(tmp_path / "stopped").result == result
    assert train(settings(name), tmp_path / "stopped", resume=True).status == "finished"
    train(settings(name), tmp_path / "whole")
    assert numbers(tmp_path / "stopped") == numbers(tmp_path / "whole")


@pytest.mark.parametrize("name", ["backprop", "pgpe"])
def test_a_signal_in_a_long_step_does_not_wait_for_its_end(name, tmp_path, monkeypatch):
    calls, update = 0, Searcher.update_normalisation

    def interrupted(self, *lived):  # at the end of a step, when parameters are others already
        nonlocal calls
        calls += 1
        if calls == 10:
            os.kill(os.getpid(), signal.SIGTERM)
        update(self, *lived)

    train(settings(name), tmp_path / "whole")
    monkeypatch.setattr(Searcher, "update_normalisation", interrupted)
    monkeypatch.setattr("evolution.runs.train.LONG", -1.0)
    result = train(settings(name), tmp_path / "stopped")
    assert (result.status, result.episodes) == ("interrupted", 9 * 16)
    assert train(settings(name), tmp_path / "stopped", resume=True).status == "finished"
    assert numbers(tmp_path / "stopped") == numbers(tmp_path / "whole")


def test_what_goes_wrong_because_of_a_signal_is_given_up():
    def work():
        with contextlib.suppress(BaseException):  # as where compiled code calls Python
            os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("no compiled object yet")

    with signals_noted() as signals:
        assert signals.unless_one_comes(work) is None
    with signals_noted() as signals, pytest.raises(ZeroDivisionError):
        signals.unless_one_comes(lambda: 1 / 0)


def test_a_second_signal_ends_the_process_as_ever(tmp_path):
    def interrupt(progress):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(settings(), tmp_path / "run", progress=interrupt)
    train(settings(), tmp_path / "run", resume=True)
    train(settings(), tmp_path / "whole")
    assert numbers(tmp_path / "run") == numbers(tmp_path / "whole")


@pytest.mark.parametrize("when", [*range(12), 20, 30])
def test_a_full_disk_is_one_sentence_and_loses_nothing(when, tmp_path, monkeypatch):
    run = settings(budget=8 * 16, evals=4)
    train(run, tmp_path / "whole")
    calls = 0

    def fsync(descriptor):
        nonlocal calls
        calls += 1
        if calls > when:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fsync)
        with pytest.raises(UsageError, match="No space left on device; what was written before is kept"):
            train(run, tmp_path / "full")
    assert not list((tmp_path / "full").glob("*.tmp"))
    train(run, tmp_path / "full", resume=True)
    assert numbers(tmp_path / "full") == numbers(tmp_path / "whole")


def test_same_numbers_in_two_processes(tmp_path):
    code = (
        "import sys; from pathlib import Path; from evolution import train; from tests.helpers.runs import settings\n"
        "for name in ('backprop', 'pgpe', 'cmaes', 'ga'): train(settings(name), Path(sys.argv[1]) / name)"
    )
    environment = os.environ | {"PYTHONHASHSEED": "123"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "other")], check=True, env=environment)
    for name in ("backprop", "pgpe", "cmaes", "ga"):
        train(settings(name), tmp_path / name)
        assert numbers(tmp_path / name) == numbers(tmp_path / "other" / name)


def test_resuming_a_finished_run_gives_its_result_and_changes_nothing(tmp_path):
    result = train(settings(), tmp_path / "run")
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()}
    assert train(settings(), tmp_path / "run", resume=True) == result
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()} == files


def test_resuming_where_nothing_is_starts_the_run(tmp_path):
    assert train(settings(), tmp_path / "a" / "run", resume=True).status == "finished"
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "config.json.tmp").write_text("{")  # killed in its first moment
    assert train(settings(), tmp_path / "b", resume=True).status == "finished"
    assert numbers(tmp_path / "b") == numbers(tmp_path / "a" / "run")
