"""Searchers that find what agents are born with, by backpropagation or by evolution, and a fair comparison of the two.

Libraries that only some searchers need (EvoTorch, Stable-Baselines3) are imported when such a searcher is made.
"""

from evolution.evaluation import Evaluation, evaluate
from evolution.registry import SEARCHERS
from evolution.results import RunProgress, RunResult
from evolution.run_folder import HistoryRow, LoadedRun, load_run
from evolution.searcher import Diverged, Ledger, Searcher, make_searcher
from evolution.settings import RunSettings
from evolution.training import train

__all__ = [
    "SEARCHERS",
    "Diverged",
    "Evaluation",
    "HistoryRow",
    "Ledger",
    "LoadedRun",
    "RunProgress",
    "RunResult",
    "RunSettings",
    "Searcher",
    "evaluate",
    "load_run",
    "make_searcher",
    "train",
]
