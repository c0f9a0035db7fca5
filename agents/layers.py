"""A linear layer whose weights have a learned plasticity per connection."""

from typing import Literal

import torch
from torch import Tensor, nn

Plasticity = Literal["random", "uniform", "neg_uniform", "none"]


class PlasticLinear(nn.Module):
    """Slow weights (n, m) and the plasticity of each connection; the fast weights live in the agent's state.

    Biases are the last `biases` rows, driven by the constant input 1, so that a rule treats them as any other
    connection: n = `inputs` + `biases`. `plastic_inputs` (n,) is 1 for the inputs and 0 for the biases.
    """

    plasticity: Tensor | None
    plastic_inputs: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        biases: int,
        scale: float,
        plasticity: Plasticity | None,
        generator: torch.Generator,
    ) -> None:
        """Draw slow weights from U(−scale, scale); `plasticity=None` makes an ordinary layer without fast weights."""
        super().__init__()
        self.inputs, self.outputs, self.biases = inputs, outputs, biases
        shape = (inputs + biases, outputs)
        self.register_buffer("plastic_inputs", (torch.arange(inputs + biases) < inputs).float(), persistent=False)
        self.weight = nn.Parameter((torch.rand(shape, generator=generator) * 2 - 1) * scale)
        if plasticity == "random":
            self.plasticity = nn.Parameter(torch.rand(shape, generator=generator) * 2 - 1)
        elif plasticity in ("uniform", "neg_uniform"):
            self.plasticity = nn.Parameter(torch.full(shape, 1.0 if plasticity == "uniform" else -1.0))
        elif plasticity == "none":
            self.register_buffer("plasticity", torch.ones(shape), persistent=False)
        else:
            self.plasticity = None

    def extra_repr(self) -> str:
        """Sizes, as `nn.Linear` prints them."""
        return f"inputs={self.inputs}, outputs={self.outputs}, biases={self.biases}"


def with_ones(*parts: Tensor, ones: int) -> Tensor:
    """Join activities along the last dimension and append the constant inputs of the biases."""
    return torch.cat([*parts, parts[-1].new_ones(*parts[-1].shape[:-1], ones)], -1)
