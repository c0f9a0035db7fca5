"""How the units of a k-winners-take-all network fire: the few that win, round by round."""

from collections.abc import Iterator
from functools import cache, cached_property
from typing import NamedTuple

import torch
from torch import Tensor


class Winners(NamedTuple):
    """The activity of V units of which k win: the winners' values and their numbers, (..., k) each."""

    values: Tensor
    numbers: Tensor
    units: int

    def dense(self) -> Tensor:
        """The activity of all units (..., V)."""
        zeros = self.values.new_zeros(()).expand(*self.values.shape[:-1], self.units)
        return zeros.scatter(-1, self.numbers, self.values)

    def times(self, matrix: Tensor) -> Tensor:
        """The product (..., S, m) of S activities with each matrix (..., V, m)."""
        dense = self.dense()
        if dense.dim() == matrix.dim() == 3:
            return torch.bmm(dense, matrix)  # the same, without asking for shapes
        return dense @ matrix


class RowSums:
    """`Winners.times` for one activity with each of n matrices, which reads the rows of kept units alone.

    That halves what must come from memory, where half of the units win. Without autograd.
    """

    def __init__(self, networks: int, units: int, kept: int, device: torch.device) -> None:
        network = torch.arange(networks, device=device)
        self._starts = network * kept
        self._first_rows = network.view(-1, 1, 1) * units if networks > 1 else None

    def __call__(self, winners: Winners, matrix: Tensor) -> Tensor:
        """The products (n, 1, m) of activities of k units (n, 1, k) with matrices (n, V, m)."""
        chosen = winners.numbers if self._first_rows is None else winners.numbers + self._first_rows
        rows, values = matrix.view(-1, matrix.shape[-1]), winners.values.reshape(-1)
        # what `torch.nn.functional.embedding_bag` calls after its checks
        sums, *_ = torch.embedding_bag(rows, chosen.reshape(-1), self._starts, False, 0, False, values)
        return sums.unsqueeze(1)


class Firing:
    """What happened in the T rounds of one or more examples.

    Args:
        kept: Who won in each round, (..., k) of V units.
        all_fired: Whether all units that were kept count as fired; else those whose activity is positive.
    """

    def __init__(self, kept: list[Winners], all_fired: bool) -> None:
        self.kept, self._all_fired = kept, all_fired

    @cached_property
    def rounds(self) -> list[Tensor]:
        """The activity after each round (..., V)."""
        return [winners.dense() for winners in self.kept]

    @property
    def activity(self) -> Tensor:
        """The activity after the last round (..., V)."""
        return self.rounds[-1]

    @cached_property
    def code(self) -> Tensor:
        """Each unit's code (..., V), integers: a bit for each round, the first round's most significant."""
        with torch.no_grad():
            numbers = torch.cat([winners.numbers for winners in self.kept], -1)  # (..., T · k)
            fired = torch.stack([winners.values for winners in self.kept], -2)  # (..., T, k)
            fired = torch.ones_like(fired) if self._all_fired else fired.sign_()  # no activity is negative
            fired.mul_(_bits(len(self.kept), fired.device))
            zeros = fired.new_zeros((*fired.shape[:-2], self.kept[0].units))
            return zeros.scatter_add_(-1, numbers, fired.flatten(-2)).long()

    def examples(self) -> Iterator["Firing"]:
        """Of each of S examples (..., S, ·) what happened (..., 1, ·)."""
        split = [(torch.split(kept.values, 1, -2), torch.split(kept.numbers, 1, -2)) for kept in self.kept]
        for at, code in enumerate(torch.split(self.code, 1, -2)):
            one = Firing([Winners(v[at], i[at], self.kept[0].units) for v, i in split], self._all_fired)
            one.code = code
            yield one


@cache
def _bits(rounds: int, device: torch.device) -> Tensor:
    """What a unit's firing in each of T rounds adds to its code: (T, 1)."""
    bits = [[float(1 << number)] for number in reversed(range(rounds))]
    return torch.tensor(bits, dtype=torch.float32, device=device)
