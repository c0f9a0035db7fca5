"""Parameters that take the place of an agent's own in a rollout, one individual's or a population's."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from agents.agent import Agent
from plastic_envs.utils.checks import choose, shown
from plastic_envs.utils.errors import UnknownNameError, UsageError, WrongTypeError


def named(agent: Agent, given: Mapping[str, Tensor] | Tensor | None) -> dict[str, Tensor]:
    """Parameters by name, as torch's own tensors: a subclass may refuse what is done with them."""
    if isinstance(given, Tensor):
        own = dict(agent.named_parameters())
        sizes = [value.numel() for value in own.values()]
        if given.dim() not in (1, 2) or given.shape[-1] != sum(sizes):
            raise UsageError(
                f"parameters as one tensor must have the shape ({sum(sizes)},), or (P, {sum(sizes)}) for a population, "
                f"not {tuple(given.shape)}"
            )
        parts = zip(own.items(), torch.split(given, sizes, -1), strict=True)
        given = {name: part.reshape(*given.shape[:-1], *value.shape) for (name, value), part in parts}
    given = given or {}
    if wrong := next((name for name, value in given.items() if not isinstance(value, Tensor)), None):
        raise WrongTypeError(f"parameter {wrong!r} must be a torch.Tensor, not a {type(given[wrong]).__name__}")
    plain_types = (Tensor, nn.Parameter)
    return {name: value if type(value) in plain_types else value.as_subclass(Tensor) for name, value in given.items()}


def population_size(agent: Agent, parameters: Mapping[str, Tensor]) -> int | None:
    """The leading dimension P of the given parameters, None if they are those of one individual."""
    own = dict(agent.named_parameters())
    if unknown := parameters.keys() - own.keys():
        raise UnknownNameError(f"the agent has no parameter {shown(min(unknown))}: {choose(min(unknown), own)}")
    population = next((len(value) for name, value in parameters.items() if value.dim() > own[name].dim()), None)
    for name, value in parameters.items():
        shape = own[name].shape
        if value.shape != shape and (population is None or value.shape != (population, *shape)):
            wanted = f"{tuple(shape)}, or that behind the same number of individuals for all"
            raise UsageError(f"parameter {name!r} must have the shape {wanted}, not {tuple(value.shape)}")
    return population
