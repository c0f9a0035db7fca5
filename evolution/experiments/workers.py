"""Worker processes that outlive a failing job, and a parent that outlives a failing worker.

`concurrent.futures` gives up the whole pool when one process is killed; an experiment must only lose that one run.
"""

import contextlib
import multiprocessing
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence, Set
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

from plastic_envs.utils.errors import UsageError
from plastic_envs.utils.leaving import leaving_refused
from plastic_envs.utils.working_directory import SAFE, environment, own

Report = Callable[[Any], None]
Job = Callable[[Any, Report], None]
"""A top-level function of an item and of a `report` that sends anything picklable to the parent."""


@dataclass(frozen=True)
class Event:
    """What became of item `index`: it reported `payload`, or it ended, with `error` None when all was well."""

    index: int
    ended: bool
    payload: Any = None
    error: str | None = None


class _Worker(NamedTuple):
    process: BaseProcess
    connection: Connection


def run_isolated(function: Job, items: Sequence[Any], jobs: int) -> Generator[Event]:
    """Call `function(item, report)` for every item in `jobs` spawned processes, and yield what happens as it does.

    An exception ends its item with the exception's sentence; a worker that dies ends its item with the signal's name
    and is replaced. Closing the iterator, as an exception in the caller does, ends the workers.

    Raises:
        UsageError: the workers cannot start, as in a script without `if __name__ == "__main__":`.
    """
    waiting = deque(range(len(items)))
    busy: dict[Connection, tuple[_Worker, int]] = {}
    idle: list[_Worker] = []
    try:
        while waiting or busy:
            while waiting and len(busy) < jobs:
                worker = idle.pop() if idle else _start(function)
                busy[worker.connection] = worker, waiting.popleft()
                worker.connection.send(items[busy[worker.connection][1]])
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                worker, index = busy[connection]
                try:
                    ended, payload, error = connection.recv()
                except (EOFError, ConnectionResetError):
                    ended, payload, error = True, None, _last_words(worker.process)
                    worker.process.join()
                    busy.pop(connection)
                else:
                    if ended:
                        idle.append(busy.pop(connection)[0])
                yield Event(index, ended, payload, error)
    finally:
        workers = [*idle, *(worker for worker, _ in busy.values())]
        for worker in workers:
            with contextlib.suppress(OSError):
                worker.connection.send(None)  # after its item it shall stop
            worker.process.terminate()  # which ends its item
        for worker in workers:
            worker.process.join()
            worker.connection.close()  # not before: a worker that reports once more must come to its end


def _start(function: Job) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    foreign = SAFE.keys() - os.environ.keys()
    process = context.Process(target=_work, args=(theirs, function, foreign, dict(own)), daemon=True)
    with environment(SAFE):
        process.start()
    theirs.close()  # so that its end shows as an end of file
    try:
        ours.recv()
    except (EOFError, ConnectionResetError):
        process.join()
        raise UsageError(
            f"a worker process ended with status {process.exitcode} before it began; "
            "a script that compares needs its calls below `if __name__ == '__main__':`"
        ) from None
    return _Worker(process, ours)


def _work(connection: Connection, function: Job, foreign: Set[str], theirs: Mapping[str, str]) -> None:
    """Serve items until the parent says None, or is gone."""
    own.update(theirs)
    for name in foreign:  # for the start of this process, not of those that the user's code may start
        del os.environ[name]
    # Ctrl-C reaches the whole process group: the parent decides, and ends its workers by SIGTERM.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send("ready")
        while (item := connection.recv()) is not None:
            error = None
            try:
                with leaving_refused():
                    function(item, lambda payload: connection.send((False, payload, None)))
            except (BrokenPipeError, ConnectionResetError):
                raise
            except Exception as exception:
                error = sentence(exception)
                if not isinstance(exception, UsageError):
                    traceback.print_exc()
            connection.send((True, None, error))


def sentence(error: BaseException) -> str:
    """An exception in one line: the words alone of a UsageError, with the type's name otherwise."""
    if isinstance(error, UsageError):
        return " ".join(error.sentence.split())
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _last_words(process: BaseProcess) -> str:
    process.join()
    code = process.exitcode or 0
    if code >= 0:
        return f"its worker process ended with status {code}, as by os._exit in code of one's own"
    name = signal.Signals(-code).name
    hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
    return f"its worker process was killed by {name}{hint}"
