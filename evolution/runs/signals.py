"""Interrupts that wait for the end of a short step, and do not wait for that of a long one or of an evaluation."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

T = TypeVar("T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Dropped(BaseException):
    """A signal came where work may be given up."""


class Signals:
    """Whether SIGINT or SIGTERM came.

    Attributes:
        came: whether one did.
    """

    def __init__(self) -> None:
        self.came = False
        self._droppable = False

    def unless_one_comes(self, work: Callable[[], T]) -> T | None:
        """Do work whose traces until then do not matter; None if a signal came, which gives it up at once."""
        try:
            try:
                self._droppable = True
                return None if self.came else work()
            finally:
                self._droppable = False
        except _Dropped:
            return None
        except Exception:
            if self.came:  # in a function that compiled code called, which lost what was raised and went wrong after it
                return None
            raise

    def note(self) -> None:
        """Take note of a signal."""
        self.came = True
        if self._droppable:
            raise _Dropped


@contextlib.contextmanager
def signals_noted() -> Iterator[Signals]:
    """Note the first SIGINT or SIGTERM; the second one acts as it always did.

    Outside the main thread, where Python takes no signals, nothing is ever noted.
    """
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        put_back()
        signals.note()

    for number in _SIGNALS:
        signal.signal(number, note)
    try:
        yield signals
    finally:
        put_back()
