"""What every test needs: one torch thread, and generators from a seed."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, for the processes that tests start too
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # windows without a screen

import pytest
import torch

torch.set_num_threads(1)
collect_ignore_glob = ["clients/*"]  # they run where their libraries are: `make clients`


@pytest.fixture
def generator() -> torch.Generator:
    """A generator that is the same in every test."""
    return torch.Generator().manual_seed(0)


@pytest.fixture
def only_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The test's own folder is all there is, and nothing is downloaded."""
    pooch = pytest.importorskip("pooch")

    def refuse(url: str, *_: object, **__: object) -> None:
        raise OSError(f"no network to {url}")

    monkeypatch.setattr(pooch, "retrieve", refuse)
    monkeypatch.setenv("PLASTIC_ENVS_DATA", str(tmp_path))
