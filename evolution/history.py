"""The history of a run: a CSV file with a row per evaluation."""

import csv
import io
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from evolution.checkpoint import write_atomically, writing
from plastic_envs.errors import UsageError
from plastic_envs.reading import read_text


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


def append_row(path: Path, row: HistoryRow) -> None:
    """Add a row and make it last.

    Raises:
        UsageError: the file cannot be written.
    """
    with writing(path):
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow(COLUMNS)
            writer.writerow(asdict(row).values())
            file.flush()
            os.fsync(file.fileno())


def read_rows(path: Path) -> list[HistoryRow]:
    """All rows.

    Raises:
        UsageError: the file is missing or damaged.
    """
    try:
        header, *rows = csv.reader(io.StringIO(read_text(path)))
        if tuple(header) != COLUMNS:
            raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
        return [HistoryRow(int(row[0]), int(row[1]), *map(float, row[2:])) for row in rows]
    except (ValueError, TypeError, IndexError, csv.Error) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path} is damaged: {error}") from error


def cut_rows(path: Path, rows: int) -> list[HistoryRow]:
    """Keep the first `rows` rows and return them.

    Raises:
        UsageError: there are fewer rows than that, or the file is damaged or cannot be written.
    """
    if rows == 0:
        with writing(path):
            path.unlink(missing_ok=True)
        return []
    whole = [line for line in read_text(path).splitlines(keepends=True) if line.endswith("\n")]
    if len(whole) < rows + 1:
        raise UsageError(f"{path} is damaged: it has fewer than the {rows} rows that the checkpoint counts")
    write_atomically(path, "".join(whole[: rows + 1]).encode())
    return read_rows(path)
