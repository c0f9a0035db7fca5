"""The folder of one run: what is written where, and in which order."""

import importlib.metadata
import json
import math
import os
import shutil
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

import agents
from evolution.checkpoint import load_checkpoint, save_checkpoint, write_atomically, writing
from evolution.event_log import EventLog
from evolution.history import HistoryRow, append_row, cut_rows, read_rows
from evolution.results import RunResult
from evolution.settings import RunSettings
from evolution.steps import StepLog
from plastic_envs.errors import MissingFileError, OccupiedFolderError, UsageError
from plastic_envs.reading import read_json

__all__ = ["HistoryRow", "LoadedRun", "RunFolder", "load_result", "load_run", "read_json", "versions"]

FORMAT = 1
PACKAGES = ("plastic-envs", "torch", "numpy", "gymnasium", "scikit-learn", "evotorch", "ray", "stable-baselines3")
AGENT_FILES = ("agent.json", "agent.safetensors")
FILES = ("config.json", "history.csv", "steps.csv", "checkpoint.pt", "result.json", *AGENT_FILES)
FOLDERS = ("tensorboard", ".agent.tmp")


class RunFolder:
    """Reads and writes the files of one run.

    The checkpoint is the commit point: rows of the history are appended first, and rows beyond the number that the
    checkpoint holds are cut off when the run goes on.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.history = self.path / "history.csv"
        self.checkpoint = self.path / "checkpoint.pt"
        self.result = self.path / "result.json"
        self.steps = StepLog(self.path / "steps.csv")
        self.events = EventLog(self.path / "tensorboard")

    def prepare(self, settings: RunSettings, *, resume: bool, overwrite: bool) -> None:
        """Make the folder ready for a run with these settings.

        Raises:
            UsageError: the folder holds something else, a run that must not be overwritten, or a run with other
                settings; or it cannot be written.
        """
        # A run killed in its first moment leaves at most a half-written config.json.tmp.
        occupied = any(item.name != "config.json.tmp" for item in self.path.iterdir())
        if occupied and not self.config.exists():
            raise OccupiedFolderError(
                f"{self.path} is not empty and not a run folder (no config.json): choose another folder"
            )
        if occupied and resume:
            self.check_settings(settings)
            return
        if occupied and not overwrite:
            raise OccupiedFolderError(
                f"{self.path} already holds a run: go on with --resume (resume=True), or replace it with --overwrite "
                "(overwrite=True)"
            )
        if occupied:
            with writing(self.path):
                self._clear()
        self._write_json(self.config, {"format": FORMAT, "settings": settings.to_json(), "versions": versions()})

    def _clear(self) -> None:
        """Remove a run's files and nothing else; config.json last, so that an interruption leaves a run folder."""
        for name in FOLDERS:
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in reversed(FILES):
            (self.path / name).unlink(missing_ok=True)

    def check_settings(self, settings: RunSettings) -> None:
        """Refuse other settings than those of the run that is here, if there is one.

        Raises:
            UsageError: they differ.
        """
        # Path.exists raises where a folder above may not be read, of which `prepare` tells.
        if os.path.exists(self.config) and (difference := self.read_settings().difference(settings)):
            raise UsageError(f"{self.path} was started with {difference}: resume it with the settings it has")

    def read_settings(self) -> RunSettings:
        """Settings the run was started with."""
        config = read_json(self.config)
        if config.get("format") != FORMAT:
            raise UsageError(f"{self.config}: format {config.get('format')!r} is unknown: this version reads {FORMAT}")
        if not isinstance(config.get("settings"), dict):
            raise UsageError(f"{self.config} is damaged: it has no settings")
        return RunSettings.from_json(config["settings"])

    def append_history(self, row: HistoryRow) -> None:
        """Add a row, here and to the event files."""
        append_row(self.history, row)
        self.events.add(row.episodes, asdict(row))

    def read_history(self) -> list[HistoryRow]:
        """All rows.

        Raises:
            UsageError: the file is missing or damaged.
        """
        return read_rows(self.history)

    def cut_history(self, rows: int) -> list[HistoryRow]:
        """Keep the first `rows` rows, here and in the event files, and return them.

        Raises:
            UsageError: there are fewer rows than that, or the file is damaged or cannot be written.
        """
        kept = cut_rows(self.history, rows)
        self.events.rewrite((row.episodes, asdict(row)) for row in kept)
        return kept

    def save_agent(self, agent: agents.Agent) -> None:
        """Write the agent, each of its two files in one moment."""
        temporary = self.path / ".agent.tmp"
        with writing(temporary):
            try:
                agents.save(agent, temporary)
                for name in AGENT_FILES:
                    write_atomically(self.path / name, (temporary / name).read_bytes())
            except SafetensorError as error:  # its word for a failure to write
                raise OSError(str(error)) from error
            finally:
                shutil.rmtree(temporary, ignore_errors=True)

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Commit."""
        save_checkpoint(self.checkpoint, state)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last committed state; None if there is none yet."""
        return load_checkpoint(self.checkpoint) if self.checkpoint.exists() else None

    def write_result(self, result: RunResult) -> None:
        """Write result.json; numbers that are not finite become null."""
        self._write_json(self.result, result.to_json())

    def forget_result(self) -> None:
        """Remove result.json: the run goes on."""
        with writing(self.result):
            self.result.unlink(missing_ok=True)

    def read_result(self) -> RunResult | None:
        """The result, None while there is none.

        Raises:
            UsageError: the file is damaged.
        """
        if not self.result.exists():
            return None
        try:
            return RunResult.from_json(read_json(self.result))
        except (TypeError, ValueError) as error:
            raise UsageError(f"{self.result} is damaged: {error}") from error

    def _write_json(self, path: Path, value: Mapping[str, Any]) -> None:
        write_atomically(path, (json.dumps(without_nan(value), indent=2, allow_nan=False) + "\n").encode())


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a run's numbers, as far as they are installed."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def without_nan(value: Any) -> Any:
    """JSON values with None for every number that is not finite: JSON has no word for those."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def load_result(path: str | Path) -> RunResult | None:
    """The result of the run in a folder; None while it is under way or was killed."""
    return RunFolder(Path(path)).read_result()


@dataclass(frozen=True)
class LoadedRun:
    """A run as its folder tells it; the result is None while the run is under way or was killed."""

    settings: RunSettings
    agent: agents.Agent
    history: list[HistoryRow]
    result: RunResult | None


def load_run(path: str | Path, *, trust: Collection[str] = ()) -> LoadedRun:
    """Read a run folder; nothing in it is run.

    Args:
        path: the folder.
        trust: names `module:Name` of your own rules that its agent may use, see `agents.load`.

    Raises:
        UsageError: it is not a run folder, or a file in it is missing or damaged.
    """
    folder = RunFolder(Path(path))
    if not folder.config.exists():
        raise MissingFileError(f"{path} is not a run folder: it has no config.json")
    return LoadedRun(
        folder.read_settings(), agents.load(path, trust=trust), folder.read_history(), folder.read_result()
    )
