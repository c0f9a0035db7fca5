"""Searchers that find what agents are born with, by backpropagation or by evolution, and a fair comparison of the two.

Names are imported when they are first used, so that `plastic-envs --help` need not wait for torch; libraries that only
some searchers need (EvoTorch, Stable-Baselines3) wait until such a searcher is made.
"""

import importlib
from typing import TYPE_CHECKING, Any

_NAMES = {
    "evaluation.attacks": ("targeted_attack",),
    "claims": ("CLAIMS", "ClaimSettings", "Contest", "Finding", "Learner", "claim"),
    "experiments.comparison": ("compare",),
    "evaluation.evaluate": ("Evaluation", "evaluate"),
    "experiments.grid": ("Grid",),
    "runs.history": ("HistoryRow",),
    "experiments.presets": ("PRESETS",),
    "searchers.table": ("SEARCHERS",),
    "reports.reporting": ("report",),
    "runs.results": ("RunProgress", "RunResult"),
    "experiments.retraining": ("Transfer", "transfer"),
    "runs.run_folder": ("LoadedRun", "load_run"),
    "searchers.make": ("make_searcher",),
    "searchers.base": ("Diverged", "Ledger", "Searcher", "with_parameters"),
    "seeding": ("make_generator",),
    "runs.settings": ("RunSettings",),
    "runs.train": ("train",),
}
_HOMES = {name: f"{__name__}.{module}" for module, names in _NAMES.items() for name in names}

__all__ = sorted(_HOMES)

if TYPE_CHECKING:
    from evolution.claims import CLAIMS as CLAIMS
    from evolution.claims import ClaimSettings as ClaimSettings
    from evolution.claims import Contest as Contest
    from evolution.claims import Finding as Finding
    from evolution.claims import Learner as Learner
    from evolution.claims import claim as claim
    from evolution.evaluation.attacks import targeted_attack as targeted_attack
    from evolution.evaluation.evaluate import Evaluation as Evaluation
    from evolution.evaluation.evaluate import evaluate as evaluate
    from evolution.experiments.comparison import compare as compare
    from evolution.experiments.grid import Grid as Grid
    from evolution.experiments.presets import PRESETS as PRESETS
    from evolution.experiments.retraining import Transfer as Transfer
    from evolution.experiments.retraining import transfer as transfer
    from evolution.reports.reporting import report as report
    from evolution.runs.history import HistoryRow as HistoryRow
    from evolution.runs.results import RunProgress as RunProgress
    from evolution.runs.results import RunResult as RunResult
    from evolution.runs.run_folder import LoadedRun as LoadedRun
    from evolution.runs.run_folder import load_run as load_run
    from evolution.runs.settings import RunSettings as RunSettings
    from evolution.runs.train import train as train
    from evolution.searchers.base import Diverged as Diverged
    from evolution.searchers.base import Ledger as Ledger
    from evolution.searchers.base import Searcher as Searcher
    from evolution.searchers.base import with_parameters as with_parameters
    from evolution.searchers.make import make_searcher as make_searcher
    from evolution.searchers.table import SEARCHERS as SEARCHERS
    from evolution.seeding import make_generator as make_generator


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
