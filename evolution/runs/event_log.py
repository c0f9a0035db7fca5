"""TensorBoard event files beside the history, where TensorBoard is installed."""

import logging
import os
import shutil
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from plastic_envs.utils.writing import writing

_TAGS = {"train_loss": "loss/train", "loss": "loss/held_out", "metric": "metric/held_out"}


class EventLog:
    """Scalars of the history against episodes; nothing where the extra is not installed.

    They are a copy for convenience, so a run outlives a failure to write them: a line says so, once.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: BinaryIO | None = None
        self._given_up = False

    def add(self, episodes: int, row: Mapping[str, Any]) -> None:
        """Write one row of the history."""
        if self._given_up:
            return
        try:
            from tensorboard.compat.proto.summary_pb2 import Summary
        except ImportError:
            self._give_up("no event files: pip install 'plastic-envs[tensorboard]'")
            return
        told = {tag: row[column] for column, tag in _TAGS.items() if row[column] == row[column]}
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in told.items()]
        try:
            with writing(self.folder):
                self._open()
                self._write(step=episodes, summary=Summary(value=values))
        except OSError as error:
            self._give_up(f"no event files from here on, the run goes on: {error}")
            self.close()

    def rewrite(self, rows: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        """Begin again with these rows, so that nothing stays of what a resumed run cut off."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        for episodes, row in rows:
            self.add(episodes, row)

    def close(self) -> None:
        """Finish the file."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _open(self) -> None:
        if self._file is None:
            self.folder.mkdir(exist_ok=True)
            name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
            self._file = (self.folder / name).open("ab", buffering=0)  # a failure shows here, not when it is closed
            self._write(file_version="brain.Event:2")

    def _write(self, **fields: Any) -> None:
        """One record; TensorBoard's own writer has a thread, which prints its failures."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        RecordWriter(self._file).write(Event(wall_time=time.time(), **fields).SerializeToString())

    def _give_up(self, why: str) -> None:
        self._given_up = True
        logging.getLogger(__name__).warning(why)
