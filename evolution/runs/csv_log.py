"""CSV files of numbers that grow by rows, which a checkpoint counts and knows by their hash."""

import csv
import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from plastic_envs.utils.errors import UsageError
from plastic_envs.utils.reading import read_bytes, read_text
from plastic_envs.utils.writing import append, remove, writing


class CsvLog:
    """A CSV file with a row of names, those of the first row of numbers, and the rows.

    Attributes:
        path: the file.
        rows: how many rows of numbers it has, those left out that `cut` will drop.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self._size = 0
        self._names: list[str] = []
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> str:
        """The hash of these rows, names included."""
        return self._hash.hexdigest()

    def append(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Add rows, and make them last.

        Raises:
            UsageError: the file cannot be written.
        """
        if not rows:
            return
        text = io.StringIO(newline="")
        names = self._names or list(rows[0])
        writer = csv.DictWriter(text, names, restval="nan", extrasaction="ignore", lineterminator="\n")
        if not self.rows:
            writer.writeheader()
        writer.writerows(rows)
        data = text.getvalue().encode()
        append(self.path, data)
        self._hash.update(data)
        self._names, self._size, self.rows = names, self._size + len(data), self.rows + len(rows)

    def seek(self, rows: int, digest: str | None = None) -> str:
        """Stand after the first rows and give them as text; the file stays as it is until `cut`.

        Args:
            rows: how many.
            digest: their hash, if it is known.

        Raises:
            UsageError: there are fewer, or others than those of the hash; or the file cannot be read.
        """
        lines = read_bytes(self.path, blowup=12).split(b"\n")[:-1][: rows + 1] if rows else []
        if rows and len(lines) < rows + 1:
            raise UsageError(f"{self.path} is damaged: it has fewer than the {rows} rows that the checkpoint counts")
        kept = b"".join(line + b"\n" for line in lines)
        try:
            text = kept.decode()
            if rows:
                parse_columns(text)
        except ValueError as error:
            raise UsageError(f"{self.path} is damaged: {error}") from error
        self._stand_after(kept)
        if digest is not None and digest != self.digest:
            raise UsageError(f"{self.path} is damaged: its first {rows} rows are not those of this run's checkpoint")
        return text

    def cut(self) -> None:
        """Drop what is behind the rows.

        Raises:
            UsageError: the file cannot be written.
        """
        if not self.rows:
            remove(self.path)
        elif os.path.getsize(self.path) > self._size:
            with writing(self.path), self.path.open("r+b") as file:
                file.truncate(self._size)
                os.fsync(file.fileno())

    def _stand_after(self, kept: bytes) -> None:
        lines = kept.decode().split("\n")
        self.rows, self._size, self._hash = max(0, len(lines) - 2), len(kept), hashlib.sha256(kept)
        self._names = next(csv.reader(lines[:1]), [])


def read_lines(path: Path) -> str:
    """The text of a log, without a last line that is not yet whole.

    Raises:
        UsageError: the file cannot be read.
    """
    text = read_text(path)
    return text[: text.rfind("\n") + 1]


def parse_columns(text: str) -> dict[str, list[float]]:
    """All columns by name.

    Raises:
        ValueError: it is no table of numbers.
    """
    try:
        header, *rows = csv.reader(io.StringIO(text))
        return {name: [float(row[place]) for row in rows] for place, name in enumerate(header)}
    except (IndexError, csv.Error) as error:
        raise ValueError(str(error)) from error
