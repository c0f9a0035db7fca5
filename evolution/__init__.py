"""Searchers that find what agents are born with, by backpropagation or by evolution, and a fair comparison of the two.

Names are imported when they are first used, so that `plastic-envs --help` need not wait for torch; libraries that only
some searchers need (EvoTorch, Stable-Baselines3) wait until such a searcher is made.
"""

import importlib
from typing import TYPE_CHECKING, Any

_NAMES = {
    "attacks": ("targeted_attack",),
    "claims": ("CLAIMS", "ClaimSettings", "Contest", "Finding", "Learner", "claim"),
    "comparison": ("compare",),
    "evaluation": ("Evaluation", "evaluate"),
    "grid": ("Grid",),
    "history": ("HistoryRow",),
    "presets": ("PRESETS",),
    "registry": ("SEARCHERS",),
    "reporting": ("report",),
    "results": ("RunProgress", "RunResult"),
    "retraining": ("Transfer", "transfer"),
    "run_folder": ("LoadedRun", "load_run"),
    "searcher_factory": ("make_searcher",),
    "searcher": ("Diverged", "Ledger", "Searcher", "with_parameters"),
    "seeding": ("make_generator",),
    "settings": ("RunSettings",),
    "training": ("train",),
}
_HOMES = {name: f"{__name__}.{module}" for module, names in _NAMES.items() for name in names}

__all__ = sorted(_HOMES)

if TYPE_CHECKING:
    from evolution.attacks import targeted_attack as targeted_attack
    from evolution.claims import CLAIMS as CLAIMS
    from evolution.claims import ClaimSettings as ClaimSettings
    from evolution.claims import Contest as Contest
    from evolution.claims import Finding as Finding
    from evolution.claims import Learner as Learner
    from evolution.claims import claim as claim
    from evolution.comparison import compare as compare
    from evolution.evaluation import Evaluation as Evaluation
    from evolution.evaluation import evaluate as evaluate
    from evolution.grid import Grid as Grid
    from evolution.history import HistoryRow as HistoryRow
    from evolution.presets import PRESETS as PRESETS
    from evolution.registry import SEARCHERS as SEARCHERS
    from evolution.reporting import report as report
    from evolution.results import RunProgress as RunProgress
    from evolution.results import RunResult as RunResult
    from evolution.retraining import Transfer as Transfer
    from evolution.retraining import transfer as transfer
    from evolution.run_folder import LoadedRun as LoadedRun
    from evolution.run_folder import load_run as load_run
    from evolution.searcher import Diverged as Diverged
    from evolution.searcher import Ledger as Ledger
    from evolution.searcher import Searcher as Searcher
    from evolution.searcher import with_parameters as with_parameters
    from evolution.searcher_factory import make_searcher as make_searcher
    from evolution.seeding import make_generator as make_generator
    from evolution.settings import RunSettings as RunSettings
    from evolution.training import train as train


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
