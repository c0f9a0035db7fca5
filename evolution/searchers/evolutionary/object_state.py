"""The state of EvoTorch algorithms as plain nested dicts, and back.

EvoTorch has no `state_dict`, and reading a pickle runs code from it. A searcher is therefore made anew from its
settings, and only the values it holds are saved and put back: tensors, numbers, strings, optimizers, populations.
"""

import types
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from evotorch import Problem, SolutionBatch
from evotorch.algorithms import SearchAlgorithm
from evotorch.optimizers import ClipUpParameterGroup, TorchOptimizer
from evotorch.tools.hook import Hook
from torch import Generator, Tensor

from plastic_envs.utils.errors import WrongTypeError

_PLAIN = (bool, int, float, str, types.NoneType)
_CODE = (type, types.FunctionType, types.MethodType, types.BuiltinFunctionType, partial)
# Made again by the constructor, or a view of something that is saved elsewhere.
_NOT_STATE = (Problem, Hook, ClipUpParameterGroup, torch.device, torch.dtype, *_CODE)
# Status values and their providers, worked out anew from the state whenever they are asked for, and the time of day.
_REPORTING = (
    "_LazyReporter__computed",
    "_LazyReporter__getters",
    "_SinglePopulationAlgorithmMixin__exclude",
    "_first_step_datetime",
)


def capture(algorithm: SearchAlgorithm) -> dict[str, Any]:
    """Everything the algorithm holds that its next steps depend on.

    Raises:
        UsageError: it holds something of a kind that a checkpoint cannot hold.
    """
    state = _Walk(algorithm).capture(algorithm, type(algorithm).__name__)
    assert isinstance(state, dict)
    return state


def restore(algorithm: SearchAlgorithm, state: Mapping[str, Any]) -> None:
    """Put back what `capture` gave, into an algorithm made with the same arguments.

    Raises:
        ValueError: the state is not one of such an algorithm.
    """
    _Walk(algorithm).restore(algorithm, state, type(algorithm).__name__)
    algorithm.clear_status()


class _Walk:
    """One walk over everything an algorithm holds; saving and restoring meet the same objects in the same order."""

    def __init__(self, algorithm: SearchAlgorithm) -> None:
        self.problem = algorithm.problem
        self.packages = {"evotorch", type(algorithm).__module__.partition(".")[0]}
        self.seen: set[int] = set()

    def fields(self, value: Any, where: str) -> dict[str, Any]:
        """Attributes of an object that are state, or may become it."""
        if type(value).__module__.partition(".")[0] not in self.packages:
            raise WrongTypeError(f"{where} is of type {type(value).__name__}, which a checkpoint cannot hold")
        if id(value) in self.seen:
            return {}  # a reference back
        self.seen.add(id(value))
        return {k: v for k, v in vars(value).items() if k not in _REPORTING and not isinstance(v, _NOT_STATE)}

    def capture(self, value: Any, where: str) -> Any:
        """A value as tensors, numbers, strings, lists and dicts."""
        match value:
            case Tensor():
                return value.detach().as_subclass(Tensor).clone()
            case np.generic():
                return value.item()
            case bool() | int() | float() | str() | None:
                return value
            case Generator():
                return value.get_state()
            case SolutionBatch():
                return {"values": self.capture(value.values, where), "evals": self.capture(value.evals, where)}
            case TorchOptimizer():
                return self.capture(value.contained_optimizer.state_dict()["state"], where)
            case list() | tuple():
                return [self.capture(item, f"{where}[{i}]") for i, item in enumerate(value) if not _is_code(item)]
            case dict():
                return {k: self.capture(item, f"{where}[{k!r}]") for k, item in value.items() if not _is_code(item)}
            case _:
                return {k: self.capture(item, f"{where}.{k}") for k, item in self.fields(value, where).items()}

    def restore(self, fresh: Any, saved: Any, where: str) -> Any:
        """The saved value in the place of the fresh one; objects are kept and changed inside."""
        match fresh:
            case SolutionBatch() | None if isinstance(saved, Mapping):
                return self.restore_population(saved, where)
            case Tensor() | np.generic() | bool() | int() | float() | str() | None:
                return _restore_value(fresh, saved, where)
            case Generator():
                fresh.set_state(saved)
            case TorchOptimizer():
                groups = fresh.contained_optimizer.state_dict()["param_groups"]
                fresh.contained_optimizer.load_state_dict({"state": saved, "param_groups": groups})
            case list() | tuple():
                items = [item for item in fresh if not _is_code(item)]
                _expect(isinstance(saved, list) and len(saved) == len(items), where)
                restored = [self.restore(item, saved[i], f"{where}[{i}]") for i, item in enumerate(items)]
                return type(fresh)(restored) if len(items) == len(fresh) else fresh
            case dict():
                entries = {key: item for key, item in fresh.items() if not _is_code(item)}
                _expect(isinstance(saved, Mapping) and saved.keys() == entries.keys(), where)
                fresh.update({k: self.restore(item, saved[k], f"{where}[{k!r}]") for k, item in entries.items()})
            case _:
                fields = self.fields(fresh, where)
                _expect(isinstance(saved, Mapping) and saved.keys() == fields.keys(), where)
                for key, item in fields.items():
                    setattr(fresh, key, self.restore(item, saved[key], f"{where}.{key}"))
        return fresh

    def restore_population(self, saved: Mapping[str, Any], where: str) -> SolutionBatch:
        """A population with the saved values (P, n) and fitness (P, 1)."""
        _expect(saved.keys() == {"values", "evals"} and all(isinstance(v, Tensor) for v in saved.values()), where)
        batch = SolutionBatch(self.problem, popsize=len(saved["values"]), empty=True)
        for mine, its in ((batch.access_values(), saved["values"]), (batch.access_evals(), saved["evals"])):
            _restore_value(mine, its, where)
            mine.copy_(its)
        return batch


def _restore_value(fresh: Any, saved: Any, where: str) -> Any:
    """A tensor or a plain value; a value that was none or a number may have become a tensor."""
    if isinstance(saved, Tensor):
        if isinstance(fresh, Tensor):
            _expect(saved.shape == fresh.shape and saved.dtype == fresh.dtype, where)
            return saved.to(fresh.device, copy=True)
        _expect(fresh is None or isinstance(fresh, int | float), where)
        return saved.clone()
    _expect(isinstance(saved, _PLAIN) and not isinstance(fresh, Tensor), where)
    if isinstance(fresh, np.generic):
        return type(fresh)(saved)
    _expect(saved is None or fresh is None or type(saved) is type(fresh), where)
    return saved


def _is_code(value: Any) -> bool:
    return isinstance(value, _CODE)


def _expect(condition: bool, where: str) -> None:
    if not condition:
        raise ValueError(f"{where} is not what this searcher puts there")
