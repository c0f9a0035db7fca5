"""Putting parameters and an optimizer's moments back, with the checks that torch leaves out."""

import copy
from collections.abc import Mapping
from typing import Any

import torch


@torch.no_grad()
def load_values(own: Mapping[str, torch.Tensor], saved: Mapping[str, torch.Tensor]) -> None:
    """Copy saved tensors into those of the same names.

    Raises:
        ValueError: a shape or type differs.
    """
    for name, value in own.items():
        _check_shape(name, saved[name], value)
        value.copy_(saved[name])


def load_moments(optimizer: torch.optim.Optimizer, saved: dict[int, dict[str, Any]]) -> None:
    """Restore the moments, `state_dict()["state"]`, of Adam, AdamW or SGD.

    Raises:
        ValueError: they are not what the optimizer keeps.
    """
    sgd = isinstance(optimizer, torch.optim.SGD)
    moments = {"momentum_buffer"} if sgd else {"step", "exp_avg", "exp_avg_sq"}
    groups = optimizer.state_dict()["param_groups"]
    if groups[0].get("amsgrad"):
        moments = moments | {"max_exp_avg_sq"}
    parameters = optimizer.param_groups[0]["params"]
    for index, values in saved.items():
        if values.keys() != moments:
            raise ValueError(f"the optimizer keeps {sorted(moments)}, not {sorted(values)}")
        for key, value in values.items():
            if value is None and groups[0].get("momentum") == 0:
                continue
            _check_shape(key, value, parameters[index] if key != "step" else torch.zeros(()))
    optimizer.load_state_dict({"state": copy.deepcopy(saved), "param_groups": groups})


def _check_shape(name: str, value: torch.Tensor, like: torch.Tensor) -> None:
    if value.shape != like.shape or value.dtype != like.dtype:
        raise ValueError(
            f"{name} has shape {tuple(value.shape)} and {value.dtype}, not {tuple(like.shape)}, {like.dtype}"
        )
