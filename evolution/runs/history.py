"""The history of a run: a CSV file with a row per evaluation."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from evolution.runs.csv_log import CsvLog, read_lines
from plastic_envs.utils.checks import check_int
from plastic_envs.utils.errors import UsageError


@dataclass(frozen=True)
class HistoryRow:
    """One evaluation. The last two, processor and wall-clock time, are all that differs between equal runs."""

    episodes: int
    env_steps: int
    train_loss: float  # mean over the steps since the last row; nan in the first
    metric: float  # mean over the held-out episodes
    metric_low: float  # 95% bootstrap interval over the held-out episodes
    metric_high: float
    loss: float  # on the held-out episodes
    seconds: float
    cpu_seconds: float


COLUMNS = tuple(item.name for item in fields(HistoryRow))


class History(CsvLog):
    """The file, and its rows."""

    def add(self, row: HistoryRow) -> None:
        """Append a row.

        Raises:
            UsageError: the file cannot be written.
        """
        self.append([asdict(row)])

    def seek_rows(self, rows: int, digest: str | None = None) -> list[HistoryRow]:
        """Stand after the first rows, as `seek` does, and give them.

        Raises:
            UsageError: as `seek`, or the columns are others.
        """
        return _parse(self.path, self.seek(rows, digest)) if rows else []


def read_rows(path: Path) -> list[HistoryRow]:
    """All rows.

    Raises:
        UsageError: the file is missing or damaged.
    """
    return _parse(path, read_lines(path))


def last_score(rows: Sequence[HistoryRow]) -> HistoryRow:
    """The last row that has a score: a diverged run ends with one that has none."""
    return next((row for row in reversed(rows) if math.isfinite(row.metric)), rows[-1])


def _count(name: str, text: str) -> int:
    """A number of episodes or steps as it stands in a file, no more than a float can tell apart."""
    return check_int(name, int(text), low=0, high=2**53)


def _parse(path: Path, text: str) -> list[HistoryRow]:
    try:
        header, *rows = csv.reader(io.StringIO(text))
        if tuple(header) != COLUMNS:
            raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
        counts = [(_count(COLUMNS[0], row[0]), _count(COLUMNS[1], row[1])) for row in rows]
        return [HistoryRow(*count, *map(float, row[2:])) for count, row in zip(counts, rows, strict=True)]
    except (ValueError, TypeError, IndexError, csv.Error) as error:
        raise UsageError(f"{path} is damaged: {error}") from error
