"""Jobs as tasks of Ray, on this machine or on others: the same as `workers`, without its processes."""

import sys
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import ray  # evolution.searchers.evolutionary.actors has started it, and said so if it is missing
from ray.util.queue import Empty, Queue

from evolution.experiments.workers import Event, Job, sentence
from plastic_envs.utils.leaving import leaving_refused
from plastic_envs.utils.working_directory import find_too, own

SECONDS = 0.2
"""Between two looks at what has happened."""


def run_on_cluster(function: Job, items: Sequence[Any], jobs: int) -> Generator[Event]:
    """Call `function(item, report)` for every item, at most `jobs` at a time, and yield what happens as it does.

    Ray must be running. An exception, or a process that dies, ends its item alone. Closing the iterator interrupts
    what is under way, as Ctrl-C would. Items that name files name them for the machine that works on them: on more
    than one machine the files must lie on a disk that all of them share.
    """
    told = Queue()
    waiting = list(enumerate(items))[::-1]
    busy: dict[Any, int] = {}
    work = ray.remote(num_cpus=1, max_retries=0)(_work)
    try:
        while waiting or busy:
            while waiting and len(busy) < jobs:
                index, item = waiting.pop()
                busy[work.remote((sys.path, own), function, index, item, told)] = index
            ended, _ = ray.wait(list(busy), num_returns=1, timeout=SECONDS)
            yield from _reports(told)  # before the ends: none comes after its item's
            for reference in ended:
                yield Event(busy.pop(reference), ended=True, error=_error(reference))
    finally:
        for reference in busy:
            ray.cancel(reference)
        ray.wait(list(busy), num_returns=len(busy), timeout=60) if busy else None
        told.shutdown()


def _work(
    places: tuple[Sequence[str], Mapping[str, str]], function: Job, index: int, item: Any, told: Queue
) -> str | None:
    """One item, elsewhere: the sentence of its exception, if there was one."""
    find_too(*places)
    try:
        with leaving_refused():
            function(item, lambda payload: told.put((index, payload)))
    except Exception as exception:
        return sentence(exception)
    return None


def _reports(told: Queue) -> Generator[Event]:
    """What has been reported by now."""
    while True:
        try:
            index, payload = told.get_nowait()
        except Empty:
            return
        yield Event(index, ended=False, payload=payload)


def _error(reference: Any) -> str | None:
    """What went wrong with a task that has ended."""
    try:
        error: str | None = ray.get(reference)
    except ray.exceptions.RayError as lost:
        return f"its process on the cluster ended: {type(lost).__name__}"
    return error
