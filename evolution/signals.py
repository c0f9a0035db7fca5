"""Interrupts that wait for the end of a step."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def signals_noted() -> Iterator[Callable[[], bool]]:
    """Give a function that says whether SIGINT or SIGTERM came; the second one acts as it always did.

    Outside the main thread, where Python takes no signals, nothing is ever noted.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        came.set()
        put_back()

    for number in _SIGNALS:
        signal.signal(number, note)
    try:
        yield came.is_set
    finally:
        put_back()
