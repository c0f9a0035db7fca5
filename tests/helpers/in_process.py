"""Comparisons without worker processes, for tests that are about something else: a process takes seconds to start."""

import contextlib

import pytest

import evolution
from evolution.experiments.workers import Event
from plastic_envs.utils.errors import UsageError


def run_in_process(function, items, jobs):
    """Stands for `run_isolated`."""
    for place, item in enumerate(items):
        error, told = None, []
        try:
            function(item, told.append)
        except UsageError as refusal:
            error = str(refusal)
        yield from (Event(place, ended=False, payload=payload) for payload in told)
        yield Event(place, ended=True, error=error)


@contextlib.contextmanager
def no_workers():
    """While this lasts, comparisons and claims start no processes."""
    with pytest.MonkeyPatch.context() as patch:
        for user in ("experiments.comparison", "claims.learners"):
            patch.setattr(f"evolution.{user}.run_isolated", run_in_process)
        yield


def compare(*args, **options):
    """`evolution.compare` in this process."""
    with no_workers():
        return evolution.compare(*args, **options)
