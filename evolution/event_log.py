"""TensorBoard event files beside the history, where TensorBoard is installed."""

import logging
import shutil
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolution.checkpoint import writing

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_TAGS = {"train_loss": "loss/train", "loss": "loss/held_out", "metric": "metric/held_out"}


class EventLog:
    """Scalars of the history against episodes; nothing where the extra is not installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: SummaryWriter | None = None
        self._missing = False

    def add(self, episodes: int, row: Mapping[str, Any]) -> None:
        """Write one row of the history."""
        writer = self._open()
        if writer is None:
            return
        with writing(self.folder):
            for column, tag in _TAGS.items():
                if row[column] == row[column]:
                    writer.add_scalar(tag, row[column], episodes)
            writer.flush()

    def rewrite(self, rows: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        """Begin again with these rows, so that nothing stays of what a resumed run cut off."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        for episodes, row in rows:
            self.add(episodes, row)

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self) -> "SummaryWriter | None":
        if self._writer is None and not self._missing:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # what tensorboard itself imports
                    from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                self._missing = True
                logging.getLogger(__name__).warning("no event files: pip install 'plastic-envs[tensorboard]'")
                return None
            with writing(self.folder):
                self._writer = SummaryWriter(str(self.folder))
        return self._writer
