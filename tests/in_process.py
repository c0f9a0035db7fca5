"""Comparisons without worker processes, for tests that are about something else: a process takes seconds to start."""

import pytest

import evolution
from evolution.workers import Event
from plastic_envs.errors import UsageError


def run_in_process(function, items, jobs):
    """Stands for `run_isolated`."""
    for place, item in enumerate(items):
        error = None
        try:
            function(item, lambda payload: None)
        except UsageError as refusal:
            error = str(refusal)
        yield Event(place, ended=True, error=error)


def compare(*args, **options):
    """`evolution.compare` in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evolution.comparison.run_isolated", run_in_process)
        return evolution.compare(*args, **options)
