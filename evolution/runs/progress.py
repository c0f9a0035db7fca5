"""How far a run or a comparison is: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType
from typing import Self, TextIO

from tqdm import tqdm

PLAIN_SECONDS = 10.0
"""Between two plain lines."""


class Progress:
    """Counts episodes towards `total`; on a terminal a bar with rate and time left, else a line now and then.

    Everything goes to standard error, so that what a command prints can be piped.
    """

    def __init__(self, total: int, label: str = "", *, stream: TextIO | None = None) -> None:
        self.total = total
        self._stream = stream or sys.stderr
        self._label = f"{label}: " if label else ""
        self._episodes = 0
        self._first: tuple[float, int] | None = None  # when counting began, and at how many episodes (resumed runs)
        self._last_line = time.monotonic()
        self._bar: tqdm[None] | None = None
        if self._stream.isatty():
            self._bar = tqdm(
                total=total, unit=" episodes", unit_scale=True, desc=label, file=self._stream, dynamic_ncols=True
            )

    def update(self, episodes: int, told: str = "") -> None:
        """Say that `episodes` have been presented in all; the last step of a run may go beyond its budget."""
        episodes = min(episodes, self.total)
        if self._first is None:
            self._first = (time.monotonic(), episodes)
            if self._bar is not None:
                self._bar.initial = self._bar.n = episodes
        self._episodes = episodes
        if self._bar is not None:
            if told:
                self._bar.set_postfix_str(told, refresh=False)
            self._bar.update(episodes - self._bar.n)
        elif time.monotonic() - self._last_line >= PLAIN_SECONDS:
            self._line(self._state() + (told and f", {told}"))

    def note(self, text: str) -> None:
        """Write a line of its own, above the bar if there is one."""
        if self._bar is not None:
            self._bar.write(self._label + text, file=self._stream)
        else:
            self._line(f"{self._state()}, {text}")

    def _state(self) -> str:
        since, at = self._first or (time.monotonic(), 0)
        elapsed = time.monotonic() - since
        text = f"{self._episodes:,}/{self.total:,} episodes"
        if elapsed >= 1 and self._episodes > at:  # before, the rate says nothing
            rate = (self._episodes - at) / elapsed
            text += f", {rate:,.0f} episodes/s, {duration(max(self.total - self._episodes, 0) / rate)} left"
        return text

    def _line(self, text: str) -> None:
        print(self._label + text, file=self._stream, flush=True)
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def counted(number: int, what: str) -> str:
    """A number of things for people: `"1 run"`, `"2,000 runs"`.

    >>> counted(2000, "run")
    '2,000 runs'
    """
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def duration(seconds: float) -> str:
    """Seconds in words for people: `"8 s"`, `"4 min 10 s"`, `"3 h 20 min"`.

    >>> duration(250)
    '4 min 10 s'
    """
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
