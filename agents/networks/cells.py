"""Recurrent cells: from a layer's summed input to the new activity, and the error back again by hand."""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from plastic_envs.utils.registry import Registry, Row

CELLS = Registry(
    "cell",
    {
        "rnn": Row("agents.networks.cells:RNNCell", "plain recurrent cell with ReLU units"),
        "lstm": Row("agents.networks.cells:LSTMCell", "long short-term memory, four gates"),
    },
    ", as in self-modulated,cell={}",
)


class Activation(NamedTuple):
    """What a cell makes of its summed input."""

    hidden: Tensor  # (..., H) the new activity
    memory: Tensor | None  # (..., H) the LSTM's cell state
    post: Tensor  # (..., G) the postsynaptic signal of the cell's plastic layer


class Cell(ABC):
    """A recurrent cell with H units and G = `gates` · H summed inputs; it holds no weights."""

    gates: ClassVar[int]
    gain: ClassVar[float]
    """Initial slow weights are uniform in ±gain/√G-side outputs (Duan's program: 1 for the RNN, 2 for the LSTM)."""
    has_memory: ClassVar[bool]

    @abstractmethod
    def activate(self, summed: Tensor, memory: Tensor | None) -> Activation:
        """From the summed input (..., G) and the cell state (..., H) to the new activity."""

    @abstractmethod
    def backward(self, error: Tensor, activation: Activation, memory: Tensor | None) -> Tensor:
        """From the derivative by the new activity (..., H) to that by the summed input (..., G).

        The incoming cell state `memory` counts as constant: the derivative reaches one step back only.
        """


def rectify_back(error: Tensor, activity: Tensor) -> Tensor:
    """The error (..., H) where rectified units of this activity are active, else 0, in one operation."""
    passed: Tensor = torch.ops.aten.threshold_backward(error, activity, 0)
    return passed


class RNNCell(Cell):
    """h' = relu(a)."""

    gates = 1
    gain = 1.0
    has_memory = False

    def activate(self, summed: Tensor, memory: Tensor | None) -> Activation:
        """Rectify."""
        hidden = summed.relu()
        return Activation(hidden, None, hidden)

    def backward(self, error: Tensor, activation: Activation, memory: Tensor | None) -> Tensor:
        """Pass the error where the unit is active."""
        return rectify_back(error, activation.hidden)


class LSTMCell(Cell):
    """i, f, g, o from the summed input, c' = f∘c + i∘g, h' = o∘tanh(c'); post holds the four activated gates."""

    gates = 4
    gain = 2.0
    has_memory = True

    def activate(self, summed: Tensor, memory: Tensor | None) -> Activation:
        """Gate the cell state."""
        assert memory is not None
        in_gate, forget, candidate, out_gate = summed.chunk(4, -1)
        i, f, g, o = in_gate.sigmoid(), forget.sigmoid(), candidate.tanh(), out_gate.sigmoid()
        new_memory = f * memory + i * g
        return Activation(o * new_memory.tanh(), new_memory, torch.cat([i, f, g, o], -1))

    def backward(self, error: Tensor, activation: Activation, memory: Tensor | None) -> Tensor:
        """The derivative through the gates of this step."""
        assert activation.memory is not None
        assert memory is not None
        i, f, g, o = activation.post.chunk(4, -1)
        squashed = activation.memory.tanh()
        to_memory = error * o * (1 - squashed.square())
        return torch.cat(
            [
                to_memory * g * i * (1 - i),
                to_memory * memory * f * (1 - f),
                to_memory * i * (1 - g.square()),
                error * squashed * o * (1 - o),
            ],
            -1,
        )
