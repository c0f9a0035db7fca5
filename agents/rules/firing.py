"""Rules that read how units fired: rates for every pair of firing codes, looked up for all connections at once."""

import math
from typing import ClassVar, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from agents.rules.base import Rule, Signal
from plastic_envs.utils.checks import check_bool, check_choice, check_float, check_int
from plastic_envs.utils.errors import UsageError

When = Literal["mistakes", "always"]
Edges = Literal["pair", "all"]
Update = Literal["additive", "multiplicative"]
OutputRows = Literal["code", "fired"]
OutputStart = Literal["zero", "perceptron"]

HIDDEN = 20
"""Hidden units of a rule that is a network: section A.3."""
PERCEPTRON = ((-1.0, 1.0), (1.0, -1.0))
"""Rows: a unit that did not fire, one that did; columns: to the true class, to the other."""


class Tables(NamedTuple):
    """A rule compiled for all C = 2^T codes, the rate multiplied in; a population's have a leading dimension P.

    Attributes:
        output: (..., C, 2), from units of a code to the true class (column 0) and to the other classes (column 1).
        graph: (..., C, C), from units of the code of the row to units of the code of the column.
        input: (..., 2, C), from features that are not positive (row 0) or are (row 1) to units of a code.
    """

    output: Tensor
    graph: Tensor | None
    input: Tensor | None


class FiringRule(Rule):
    """Changes a connection by how the units at its ends fired: what firing rules share.

    A unit's code has one bit for each of T rounds, the first round's most significant: 2^T codes. Each connection
    changes by w ← w + rate·r or w ← w·(1 + rate·r), with r by the codes of its two ends. A rule of your own
    overrides `graph_rates`, and `start` if that has coefficients.

    Source: Cristian et al. 2020, "Learning with Plasticity Rules: Generalization and Robustness", sections 2 and A.

    Args:
        output: Whether the rows of the output table are a unit's "code" or whether it "fired" in the last round.
        when: Learn from "mistakes" only or "always".
        edges: Change the outputs of the "pair" of the true and the predicted class, or of "all" classes.
        update: "additive", weights then start at 0, or "multiplicative", from 1.
        input: Whether the input weights change too, by a table for features that are positive or not.
        rate: The step size η.
        l2: The squared norm of all coefficients is minimised beside the loss with the weight l2/2, whose gradient is
            that of L2 regularisation with this constant.
        output_start: The output table starts at "zero", or at "perceptron": towards the true class 1 for units that
            fired in the last round and −1 for others, towards the other class the opposite.
        rounds: T, from the network.
        seed: Of the values that are drawn for the start, from the network.

    Raises:
        UsageError: an option is none of those named, or a number is out of range.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"code"})

    def __init__(
        self,
        output: OutputRows = "code",
        when: When = "mistakes",
        edges: Edges = "pair",
        update: Update = "additive",
        input: bool = False,
        rate: float = 0.01,
        l2: float = 0.01,
        output_start: OutputStart = "zero",
        rounds: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.output_rows = check_choice("output", output, get_args(OutputRows))
        self.when = check_choice("when", when, get_args(When))
        self.edges = check_choice("edges", edges, get_args(Edges))
        self.additive = check_choice("update", update, get_args(Update)) == "additive"
        self.rate = check_float("rate", rate, low=0)
        self.l2 = check_float("l2", l2, low=0)
        self.rounds = check_int("rounds", rounds, low=1, high=8)
        start = torch.tensor(PERCEPTRON)
        if check_choice("output_start", output_start, get_args(OutputStart)) == "zero":
            start = torch.zeros_like(start)
        self.output_table = nn.Parameter(start.repeat(self.codes // 2, 1) if output == "code" else start)
        self.input_table = nn.Parameter(torch.zeros(2, self.codes)) if check_bool("input", input) else None
        self.start(torch.Generator().manual_seed(seed))

    @property
    def codes(self) -> int:
        """C = 2^T."""
        return 1 << self.rounds

    def start(self, generator: torch.Generator) -> None:
        """Make the coefficients of `graph_rates`, drawn from the generator where they are random."""

    def graph_rates(self, pre: Tensor, post: Tensor) -> Tensor | None:
        """The rates r between units of every two codes (..., C, C); None for a graph that does not change.

        Args:
            pre: Codes of the sending units as bits (C, 1, T), first round first.
            post: Codes of the receiving units (1, C, T).
        """
        return None

    def tables(self) -> Tables:
        """The rule for all codes."""
        graph = self._graph()
        output: Tensor = self.output_table
        if self.output_rows == "fired":
            output = output[..., torch.arange(self.codes, device=output.device) % 2, :]  # the last round's bit
        return Tables(
            self.rate * output,
            None if graph is None else self.rate * graph,
            None if self.input_table is None else self.rate * self.input_table,
        )

    def _graph(self) -> Tensor | None:
        bits = self._bits()
        graph: object = self.graph_rates(bits.unsqueeze(1), bits.unsqueeze(0))
        if graph is None:
            return None
        # a user's method may return anything; populations bring a third dimension
        if not (isinstance(graph, Tensor) and graph.shape[-2:] == (self.codes, self.codes) and graph.dim() <= 3):
            found = f"a tensor {tuple(graph.shape)}" if isinstance(graph, Tensor) else repr(graph)
            wanted = f"(..., {self.codes}, {self.codes})"
            raise UsageError(f"{type(self).__name__}.graph_rates must return a tensor {wanted}, not {found}")
        return graph

    def _bits(self) -> Tensor:
        """All codes as bits (C, T), first round first."""
        table = self.output_table
        shifts = torch.arange(self.rounds - 1, -1, -1, device=table.device)
        return (torch.arange(self.codes, device=table.device).unsqueeze(1) >> shifts & 1).to(table.dtype)

    def penalty(self) -> Tensor:
        """l2/2 times the sum of the squares of all coefficients."""
        return self.l2 / 2 * torch.stack([value.square().sum() for value in self.parameters()]).sum()

    @torch.no_grad()
    def describe(self) -> str:
        """The rates r as tables; codes are written as bits, first round first."""
        codes = [f"{code:0{self.rounds}b}" for code in range(self.codes)]
        change = ("w + {:g}·r" if self.additive else "w·(1 + {:g}·r)").format(self.rate)
        when = {"mistakes": "after each mistake", "always": "after each example"}[self.when]
        parts = [f"w ← {change} {when}"]
        if (graph := self._graph()) is not None:
            parts.append(_table("graph: from units of a code (row) to units of a code (column)", codes, codes, graph))
        rows = codes if self.output_rows == "code" else ["silent", "fired"]
        columns = ["true", "predicted" if self.edges == "pair" else "others"]
        parts.append(_table("output: from units to classes", rows, columns, self.output_table))
        if self.input_table is not None:
            title = "input: from features to units of a code"
            parts.append(_table(title, ["not positive", "positive"], codes, self.input_table))
        return "\n\n".join(parts)


class FiringOutput(FiringRule):
    """A table of rates for the outputs; the graph stays as it is."""

    batched: ClassVar[bool] = True


class FiringTable(FiringRule):
    """A table of rates for every pair of codes, drawn from N(0, 1), beside that of the outputs."""

    batched: ClassVar[bool] = True

    def start(self, generator: torch.Generator) -> None:
        """Draw the table."""
        self.graph_table = nn.Parameter(torch.randn(self.codes, self.codes, generator=generator))

    def graph_rates(self, pre: Tensor, post: Tensor) -> Tensor:
        """The table (..., C, C)."""
        return self.graph_table


class FiringNetwork(FiringRule):
    """A network with one hidden layer of 20 rectified units gives the rate from the bits of both codes."""

    batched: ClassVar[bool] = True

    def start(self, generator: torch.Generator) -> None:
        """Draw the weights from U(−s, s), s = 1/√(inputs of the layer)."""

        def draw(inputs: int, *shape: int) -> nn.Parameter:
            return nn.Parameter((torch.rand(shape, generator=generator) * 2 - 1) / math.sqrt(inputs))

        inputs = 2 * self.rounds
        self.graph_hidden_weight, self.graph_hidden_bias = draw(inputs, inputs, HIDDEN), draw(inputs, 1, HIDDEN)
        self.graph_rate_weight, self.graph_rate_bias = draw(HIDDEN, HIDDEN, 1), draw(HIDDEN, 1, 1)

    def graph_rates(self, pre: Tensor, post: Tensor) -> Tensor:
        """The network's output for every pair of codes (..., C, C)."""
        both = (self.codes, self.codes, -1)
        pairs = torch.cat([pre.expand(both), post.expand(both)], -1).flatten(0, 1)  # (C², 2T)
        hidden = (pairs @ self.graph_hidden_weight + self.graph_hidden_bias).relu()  # (..., C², units)
        rates = hidden @ self.graph_rate_weight + self.graph_rate_bias  # (..., C², 1)
        return rates.view(*rates.shape[:-2], self.codes, self.codes)


def _table(title: str, rows: list[str], columns: list[str], values: Tensor) -> str:
    """Signed numbers under their columns."""
    cells = [["", *columns]]
    cells += [[name, *(f"{value:+.2f}" for value in row)] for name, row in zip(rows, values.tolist(), strict=True)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(str.rjust, row, widths)) for row in cells]
    return "\n".join([title, *lines])
