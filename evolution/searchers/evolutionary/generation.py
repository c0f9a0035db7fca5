"""What a generation came to, in a few numbers by name."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:  # reports are written where EvoTorch need not be, and it takes seconds to import
    from evolution.searchers.evolutionary.evotorch_problem import Lived

QUARTILES = ("min", "q1", "median", "q3", "max")
AGES = 10
"""Parts that a lifetime is cut into."""
COEFFICIENTS = 32
"""A rule with more of them is not told number by number."""


def generation_metrics(lived: "Lived", genomes: Tensor) -> dict[str, float]:
    """The distribution of fitness, how different the individuals are, and what they earned at which age.

    Args:
        lived: What became of the individuals.
        genomes: Theirs (P, n).

    Returns:
        "loss" and "best_loss" of those whose loss is finite, and "nonfinite", the number of the others;
        "fitness_min" to "fitness_max", quartiles of minus the loss; "diversity", the standard deviation of a parameter
        over the individuals, mean over the parameters; and in a closed loop "reward_age_1" to "reward_age_10", the mean
        reward of a step in each tenth of the horizon.
    """
    finite = lived.losses[lived.losses.isfinite()]
    if not len(finite):
        return {"nonfinite": float(len(lived.losses))}
    told = {
        "loss": float(finite.mean()),
        "best_loss": float(finite.min()),
        "nonfinite": float(len(lived.losses) - len(finite)),
    }
    quartiles = torch.quantile(-finite, torch.linspace(0, 1, len(QUARTILES), dtype=finite.dtype))
    told |= {f"fitness_{name}": float(value) for name, value in zip(QUARTILES, quartiles, strict=True)}
    told["diversity"] = float(genomes.std(0, correction=0).mean())
    if lived.reward is not None:
        parts = lived.reward.mean(0).tensor_split(min(AGES, lived.reward.shape[1]))
        told |= {f"reward_age_{age}": float(part.mean()) for age, part in enumerate(parts, 1)}
    return told


def rule_metrics(values: dict[str, Tensor]) -> dict[str, float]:
    """A rule's coefficients at the centre of the search, "rule.name" or "rule.name.3" each, if they are few."""
    found = {name: value.flatten() for name, value in values.items() if ".rule." in f".{name}"}
    if sum(map(len, found.values())) > COEFFICIENTS:
        return {}
    return {
        name if len(value) == 1 else f"{name}.{place}": float(number)
        for name, value in found.items()
        for place, number in enumerate(value)
    }
