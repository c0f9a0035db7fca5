"""The folder of one run: what is written where, and in which order."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import agents
from agents.saving import SETTINGS, read_words
from evolution.experiments.folders import missing
from evolution.runs.checkpoint import load_checkpoint, save_checkpoint
from evolution.runs.event_log import EventLog
from evolution.runs.history import History, HistoryRow, last_score, read_rows
from evolution.runs.provenance import code_used, versions
from evolution.runs.results import RunResult
from evolution.runs.settings import RunSettings
from evolution.runs.steps import StepLog
from plastic_envs.utils.checks import shown
from plastic_envs.utils.errors import MissingFileError, UsageError
from plastic_envs.utils.reading import read_bytes, read_json
from plastic_envs.utils.writing import remove, write_atomically, writing

__all__ = ["HistoryRow", "LoadedRun", "RunFolder", "load_agent", "load_result", "load_run", "read_json", "versions"]

FORMAT = 1
AGENT_FILES = ("agent.json", "agent.safetensors")
LOGS = ("history.csv", "steps.csv")
ORIGIN = "run"
"""The word in an agent's and a result's file for the hash of the settings of their run."""
HASHES = "logs"
"""The word in a result's file for the hashes of the logs it goes with."""


class RunFolder:
    """Reads and writes the files of one run.

    The checkpoint is the commit point: rows of the history are appended first, and rows beyond the number that the
    checkpoint holds are cut off when the run goes on. It knows the settings and the rows it goes with by their hashes,
    so that files of different runs are not taken for one.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.history = self.path / "history.csv"
        self.checkpoint = self.path / "checkpoint.pt"
        self.result = self.path / "result.json"
        self.rows = History(self.history)
        self.steps = StepLog(self.path / "steps.csv")
        self.events = EventLog(self.path / "tensorboard")

    def prepare(self, settings: RunSettings) -> None:
        """Put a run with these settings, which has not begun, in the place of what is here.

        Raises:
            UsageError: the folder cannot be written.
        """
        self._clear()
        made = {"versions": versions(), "code": code_used(settings)}
        self._write_json(self.config, {"format": FORMAT, "settings": settings.to_json(), **made})

    def _clear(self) -> None:
        """Remove a run's files, but for its settings: at every moment it is a run that is finished or can go on.

        Without result it is not finished; then, without checkpoint, it has not begun, whatever else is there.
        """
        remove(self.result)
        remove(self.checkpoint)
        remove(*(self.path / name for name in (*LOGS, *AGENT_FILES)))
        for name in ("tensorboard", ".agent.tmp"):  # the latter of earlier versions
            with writing(self.path / name):
                shutil.rmtree(self.path / name, ignore_errors=True)

    def discard(self) -> None:
        """Remove the run, settings and all: it was refused before it was anything."""
        self._clear()
        remove(self.config)

    @property
    def begun(self) -> bool:
        """Whether there is a run here that has come as far as its first evaluation."""
        return self.checkpoint.exists() or self.result.exists()

    def check_begun(self) -> None:
        """Refuse a run that has settings and nothing else.

        Raises:
            UsageError: it has not begun.
        """
        if os.path.exists(self.config) and not self.begun:
            raise MissingFileError(
                f"{self.path}: this run has not begun, it was stopped in its first evaluation: start it with --resume"
            )

    def check_settings(self, settings: RunSettings) -> None:
        """Refuse other settings than those of the run that is here, if there is one.

        Raises:
            UsageError: they differ.
        """
        # Path.exists raises where a folder above may not be read, of which `ResumableFolder` tells.
        if os.path.exists(self.config) and (difference := self.read_settings().difference(settings)):
            raise UsageError(f"{self.path} was started with {difference}: resume it with the settings it has")

    def read_settings(self) -> RunSettings:
        """Settings the run was started with."""
        return read_config(self.config)[0]

    def settings_digest(self) -> str:
        """A hash of the settings, by which files are known to be of this run."""
        return hashlib.sha256(json.dumps(read_json(self.config).get("settings"), sort_keys=True).encode()).hexdigest()

    def digests(self) -> dict[str, str]:
        """Hashes of the settings and of the logs as they stand, which go into the checkpoint."""
        return {"settings": self.settings_digest(), "history": self.rows.digest, "steps": self.steps.digest}

    def append_history(self, row: HistoryRow) -> None:
        """Add a row, here and to the event files."""
        self.rows.add(row)
        self.events.add(row.episodes, asdict(row))

    def read_history(self) -> list[HistoryRow]:
        """All rows.

        Raises:
            UsageError: the file is missing or damaged.
        """
        return read_rows(self.history)

    def seek(self, rows: int, steps: int, digests: Mapping[str, str]) -> list[HistoryRow]:
        """Stand where a checkpoint does: after so many rows of the history, which are given, and of the steps.

        Nothing is changed until `cut`.

        Raises:
            UsageError: there are fewer rows, or the checkpoint's hashes are of others, or of other settings; or a file
                is damaged.
        """
        self._check_origin(self.checkpoint, digests.get("settings"))
        kept = self.rows.seek_rows(rows, digests.get("history"))
        self.steps.seek(steps, digests.get("steps"))
        return kept

    def cut(self, rows: Sequence[HistoryRow]) -> None:
        """Drop what is behind the place of the logs, and write the event files anew with these rows.

        Raises:
            UsageError: a file cannot be written.
        """
        self.rows.cut()
        self.steps.cut()
        self.events.rewrite((row.episodes, asdict(row)) for row in rows)

    def save_agent(self, agent: agents.Agent) -> None:
        """Write the agent, each of its two files in one moment."""
        agents.save(agent, self.path, words={ORIGIN: self.settings_digest()})

    def load_agent(self, trust: Collection[str] = ()) -> agents.Agent:
        """Read the agent.

        Raises:
            UsageError: it is missing, damaged or that of another run, or this run has not begun; or as `agents.load`.
        """
        self.check_begun()
        if self.begun:
            self.check_agent()
        if not os.path.exists(self.path / SETTINGS):
            raise missing(self.path, f"no agent here ({SETTINGS} is missing)", [SETTINGS])
        agent = agents.load(self.path, trust=trust)
        self._check_origin(self.path / "agent.safetensors", read_words(self.path).get(ORIGIN))
        return agent

    def _check_origin(self, path: Path, origin: object) -> None:
        """Refuse a file with the hash of other settings; those of earlier versions have none."""
        if origin is not None and os.path.exists(self.config) and origin != self.settings_digest():
            raise UsageError(f"{path} is that of a run with other settings")

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Commit."""
        save_checkpoint(self.checkpoint, state)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last committed state; None if there is none yet."""
        return load_checkpoint(self.checkpoint) if self.checkpoint.exists() else None

    def write_result(self, result: RunResult) -> None:
        """Write result.json, with hashes of the run's settings and logs; numbers that are not finite become null."""
        words = {ORIGIN: self.settings_digest(), HASHES: self._hashes()}
        self._write_json(self.result, {**result.to_json(), **words})

    def forget_result(self) -> None:
        """Remove it: the run goes on."""
        remove(self.result)

    def read_result(self, *, whole: bool = True) -> RunResult | None:
        """The result, None while there is none.

        Args:
            whole: whether the logs of an interrupted run are held against it too, not only those of one that has ended.

        Raises:
            UsageError: the file is damaged, or that of another run, or the logs are not as they were then.
        """
        if not self.result.exists():
            return None
        values = read_json(self.result)
        self._check_origin(self.result, values.pop(ORIGIN, None))
        hashes = values.pop(HASHES, {})  # those of earlier versions have none
        try:
            result = RunResult.from_json(values)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{self.result} is damaged: {error}") from error
        if self.history.exists() and (rows := self.read_history()):
            last = last_score(rows)
            for name in ("metric", "metric_low", "metric_high", "loss"):
                mine, its = getattr(result, name), getattr(last, name)
                if mine != its and (math.isfinite(mine) or math.isfinite(its)):
                    raise UsageError(
                        f"{self.result} and history.csv are not of one run: {name} is {mine!r}, and there {its!r}"
                    )
        found = {} if result.status == "interrupted" and not whole else self._hashes()
        for name in found.keys() & (hashes.keys() if isinstance(hashes, dict) else ()):
            if found[name] != hashes[name]:
                raise UsageError(
                    f"{self.path / name} is damaged: it is not as it was when result.json was written; put it back, or "
                    "train again with --overwrite"
                )
        return result

    def _hashes(self) -> dict[str, str]:
        """Of the logs that are there, clocks and ends of lines left out, which equal runs may have different."""
        parts = {}
        if self.history.exists():
            parts[self.history.name] = repr([astuple(row)[:-2] for row in self.read_history()]).encode()
        if self.steps.path.exists():
            parts[self.steps.path.name] = read_bytes(self.steps.path, blowup=2).replace(b"\r\n", b"\n")
        return {name: hashlib.sha256(part).hexdigest() for name, part in parts.items()}

    def check_agent(self) -> None:
        """Refuse a run whose agent's files are not there.

        Raises:
            UsageError: one is missing.
        """
        for name in AGENT_FILES:
            if not os.path.exists(self.path / name):
                raise MissingFileError(
                    f"{self.path / name} is missing: --resume makes that of a finished run again if checkpoint.pt is "
                    "there, else train again with --overwrite"
                )

    def _write_json(self, path: Path, value: Mapping[str, Any]) -> None:
        write_atomically(path, (json.dumps(without_nan(value), indent=2, allow_nan=False) + "\n").encode())


def read_config(path: Path) -> tuple[RunSettings, dict[str, Any]]:
    """The settings in a run's config.json, and all that it holds.

    Raises:
        UsageError: it is missing, damaged or of another format.
    """
    config = read_json(path)
    if config.get("format") != FORMAT:
        raise UsageError(f"{path}: format {shown(config.get('format'))} is unknown: this version reads {FORMAT}")
    if not isinstance(config.get("settings"), dict):
        raise UsageError(f"{path} is damaged: it has no settings")
    return RunSettings.from_json(config["settings"]), config


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
    if not os.path.exists(folder.config):
        raise MissingFileError(f"{path} is not a run folder: it has no config.json")
    return LoadedRun(folder.read_settings(), folder.load_agent(trust), folder.read_history(), folder.read_result())


def load_agent(path: str | Path, *, trust: Collection[str] = ()) -> agents.Agent:
    """Read the agent of a run folder, or one that lies by itself; as `agents.load`, which knows nothing of runs.

    Raises:
        UsageError: as `agents.load`; or the run has not begun, or its agent is that of another run.
    """
    return RunFolder(Path(path)).load_agent(trust)
