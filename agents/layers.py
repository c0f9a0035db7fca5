"""Layers: their sizes, and a linear one whose weights have a learned plasticity per connection."""

from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from plastic_envs.utils.checks import check_int, plain
from plastic_envs.utils.errors import UsageError

Plasticity = Literal["random", "uniform", "neg_uniform", "none"]


class PlasticLinear(nn.Module):
    """Slow weights (n, m) and the plasticity of each connection; the fast weights live in the agent's state.

    Biases are the last `biases` rows, driven by the constant input 1, so that a rule treats them as any other
    connection: n = `inputs` + `biases`.

    Args:
        weight: The slow weights (n, m).
        plasticity: Λ (n, m), or (1, 1) if all connections share it; None for an ordinary layer without fast weights.
        biases: How many of the rows belong to biases.
        learned: Whether the plasticity is a parameter; otherwise it stays as given.
    """

    plasticity: Tensor | None

    def __init__(
        self, weight: Tensor, plasticity: Tensor | None = None, *, biases: int = 0, learned: bool = True
    ) -> None:
        super().__init__()
        self.inputs, self.outputs, self.biases = weight.shape[0] - biases, weight.shape[1], biases
        self.weight = nn.Parameter(weight)
        if plasticity is None:
            self.plasticity = None
        elif learned:
            self.plasticity = nn.Parameter(plasticity)
        else:
            self.register_buffer("plasticity", plasticity, persistent=False)

    @classmethod
    def drawn(
        cls,
        inputs: int,
        outputs: int,
        *,
        biases: int,
        scale: float,
        plasticity: Plasticity | None = None,
        generator: torch.Generator,
    ) -> Self:
        """A layer with slow weights from U(−scale, scale), and plasticity from U(−1, 1), or 1, or −1, or fixed at 1."""
        shape = (inputs + biases, outputs)
        weight = (torch.rand(shape, generator=generator) * 2 - 1) * scale
        if plasticity is None:
            return cls(weight, biases=biases)
        if plasticity == "random":
            start = torch.rand(shape, generator=generator) * 2 - 1
        else:
            start = torch.full(shape, -1.0 if plasticity == "neg_uniform" else 1.0)
        return cls(weight, start, biases=biases, learned=plasticity != "none")

    def extra_repr(self) -> str:
        """Sizes, as `nn.Linear` prints them."""
        return f"inputs={self.inputs}, outputs={self.outputs}, biases={self.biases}"


def layer_sizes(hidden: Any, layers: int) -> tuple[int, ...]:
    """Units of each hidden layer, from a sequence, text as in "128-64", or one number for so many `layers`.

    Raises:
        UsageError: it is nothing of this kind.
    """
    hidden = plain(hidden)
    if isinstance(hidden, int):
        sizes: tuple[Any, ...] = (hidden,) * layers
    elif isinstance(hidden, str) and all(word.isdecimal() for word in hidden.split("-")):
        sizes = tuple(int(word) for word in hidden.split("-"))
    elif isinstance(hidden, list | tuple) and hidden:
        sizes = tuple(hidden)
    else:
        raise UsageError(f"hidden must be a number of units or one for each layer as in 170-130-100-70, not {hidden!r}")
    return tuple(check_int("hidden", size, low=1) for size in sizes)


def with_ones(*parts: Tensor, ones: int) -> Tensor:
    """Join activities along the last dimension and append the constant inputs of the biases."""
    joined = torch.cat(parts, -1) if len(parts) > 1 else parts[0]
    return nn.functional.pad(joined, (0, ones), value=1.0)
