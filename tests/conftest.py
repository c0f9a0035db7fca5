"""What every test needs: one torch thread, and generators from a seed."""

import os

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
