"""What every step of a search told: a CSV file with a row per update or generation."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from evolution.checkpoint import write_atomically, writing
from plastic_envs.errors import UsageError
from plastic_envs.reading import read_text


class StepLog:
    """Rows of numbers by name; those added since the last `write` are not yet in the file.

    Columns are those of the first row: "episodes", then what the searcher's `step` returned.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = 0
        self._rows: list[dict[str, float]] = []
        self._columns: list[str] = []

    def add(self, episodes: int, told: Mapping[str, float]) -> None:
        """Keep a row."""
        self._rows.append({"episodes": episodes, **told})

    def write(self) -> None:
        """Append the rows to the file.

        Raises:
            UsageError: it cannot be written.
        """
        if not self._rows:
            return
        with writing(self.path):
            self._columns = self._columns or list(self._rows[0])
            with self.path.open("a", newline="") as file:
                writer = csv.DictWriter(file, self._columns, restval="nan", extrasaction="ignore", lineterminator="\n")
                if not self.written:
                    writer.writeheader()
                writer.writerows(self._rows)
        self.written += len(self._rows)
        self._rows = []

    def cut(self, rows: int) -> None:
        """Keep the first `rows` rows of the file.

        Raises:
            UsageError: there are fewer, or the file cannot be read or written.
        """
        self.written, self._rows, self._columns = rows, [], []
        if not rows:
            with writing(self.path):
                self.path.unlink(missing_ok=True)
            return
        lines = read_text(self.path).splitlines(keepends=True)
        if len(lines) < rows + 1:
            raise UsageError(f"{self.path} is damaged: it has fewer than the {rows} rows that the checkpoint counts")
        write_atomically(self.path, "".join(lines[: rows + 1]).encode())
        self._columns = list(read_steps(self.path))


def read_steps(path: Path) -> dict[str, list[float]]:
    """All columns by name.

    Raises:
        UsageError: the file is missing or damaged.
    """
    try:
        header, *rows = csv.reader(io.StringIO(read_text(path)))
        return {name: [float(row[place]) for row in rows] for place, name in enumerate(header)}
    except (ValueError, IndexError, csv.Error) as error:
        raise UsageError(f"{path} is damaged: {error}") from error
