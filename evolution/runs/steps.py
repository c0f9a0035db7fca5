"""What every step of a search told: a CSV file with a row per update or generation."""

from collections.abc import Mapping
from pathlib import Path

from evolution.runs.csv_log import CsvLog, parse_columns, read_lines
from plastic_envs.utils.errors import UsageError


class StepLog(CsvLog):
    """Rows of numbers by name; those added since the last `write` are not yet in the file.

    Columns are those of the first row: "episodes", then what the searcher's `step` returned.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._waiting: list[dict[str, float]] = []

    def add(self, episodes: int, told: Mapping[str, float]) -> None:
        """Keep a row."""
        self._waiting.append({"episodes": episodes, **told})

    def write(self) -> None:
        """Append the rows to the file.

        Raises:
            UsageError: it cannot be written.
        """
        self.append(self._waiting)
        self._waiting = []


def read_steps(path: Path) -> dict[str, list[float]]:
    """All columns by name.

    Raises:
        UsageError: the file is missing or damaged.
    """
    try:
        return parse_columns(read_lines(path))
    except ValueError as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path} is damaged: {error}") from error
