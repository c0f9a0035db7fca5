"""Searchers by name and options."""

import sys
from collections.abc import Sequence

from agents import Agent
from evolution.searchers.base import Searcher, check_options
from evolution.searchers.table import SEARCHERS
from plastic_envs.core.task import Task
from plastic_envs.utils.checks import check_int
from plastic_envs.utils.errors import UnknownOptionError, UsageError, WrongTypeError, usage_error
from plastic_envs.utils.registry import format_spec, parse_spec


def make_searcher(
    spec: str,
    task: Task,
    agent: Agent,
    *,
    seed: int = 0,
    searched: Sequence[str] = ("*",),
    budget: int | None = None,
) -> Searcher:
    """Make a searcher from its name and options, `"pgpe,popsize=50,episodes=32"`.

    A name of one's own is `module:Name`, a subclass of `Searcher` or an EvoTorch `SearchAlgorithm`; so every
    algorithm of EvoTorch can be had with its own keywords, `"evotorch.algorithms:Cosyne,popsize=40,…"`.

    Raises:
        UsageError: unknown name, unknown option or a value that the searcher refuses.
    """
    seed = check_int("seed", seed, low=0)
    name, given = parse_spec(spec)
    options = {**SEARCHERS[name].options, **given}
    target = SEARCHERS.load(name)
    if "algorithm" in given and "algorithm" in SEARCHERS[name].options:
        sentence = f"searcher {name!r} has no option 'algorithm': name another as evotorch.algorithms:Name"
        raise UnknownOptionError(sentence, "algorithm")
    if not (isinstance(target, type) and issubclass(target, Searcher)):
        options["algorithm"] = target
        target = _adapter_for(name, target)
    check_options(name, getattr(target, "Options", target.__init__), options)
    try:
        made = target(task, agent, seed=seed, searched=searched, budget=budget, **options)
    except (TypeError, ValueError, LookupError) as error:
        if isinstance(error, UsageError):
            raise
        raise usage_error(f"searcher {format_spec(name, given)!r}: {' '.join(str(error).split())}", error) from error
    assert isinstance(made, Searcher)
    if not hasattr(made, "ledger"):
        raise WrongTypeError(f"searcher {name!r}: its __init__ must call super().__init__(task, agent, **common)")
    return made


def _adapter_for(name: str, target: object) -> type[Searcher]:
    """The class that makes a searcher of an EvoTorch algorithm; only reached once EvoTorch has been imported."""
    if "evotorch" in sys.modules:
        from evolution.searchers.evolutionary.evotorch_search import EvoTorchSearcher, is_algorithm

        if is_algorithm(target):
            return EvoTorchSearcher
    raise WrongTypeError(f"searcher {name!r} is neither an evolution.Searcher nor an EvoTorch SearchAlgorithm")
