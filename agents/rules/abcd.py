"""Evolved Hebbian rules: each connection changes by its own polynomial in the activity of its two ends."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from agents.rules.base import Rule, Signals
from plastic_envs.utils.checks import check_choice
from plastic_envs.utils.errors import UsageError

VARIANTS = ("A", "AD", "AD+lr", "ABC", "ABC+lr", "ABCD", "ABCD+lr", "ABC+lr+D", "ABCD+lr+D")
"""Terms of a sum, "+lr" for a learning rate that multiplies it, "+D" for a constant outside of the learning rate."""
TERMS = {"A": "A·pre·post", "B": "B·pre", "C": "C·post", "D": "D"}

Sharing = Literal["connection", "layer"] | int


class ABCD(Rule):
    """Δw_ij = η_ij (A_ij pre_i post_j + B_ij pre_i + C_ij post_j + D_ij) + D'_ij, or some of these terms.

    A bias is the connection from a unit whose activity is always 1. All coefficients start from N(0, 1).

    Sources: Najarro and Risi 2020, "Meta-Learning through Hebbian Plasticity in Random Networks", section 3; for
    coefficients shared by clusters, Pedersen and Risi 2021, "Evolving and Merging Hebbian Learning Rules".

    Args:
        variant: One of `VARIANTS`: in "ABCD+lr", the paper's, D is inside of the brackets; in "ABC+lr+D" D' is in its
            place, and "ABCD+lr+D" has both.
        sharing: Whether each "connection" has its own coefficients, or all of a "layer" share them; a number makes so
            many clusters, to one of which each connection of the network belongs by chance.
        shapes: Inputs and units (n, m) of each layer, from the network.
        seed: Of the coefficients and clusters, from the network.

    Raises:
        UsageError: there is no such variant or sharing, or the network does not tell its shapes.
    """

    plastic_biases: ClassVar[bool] = True
    batched: ClassVar[bool] = True
    decay = "none"

    def __init__(
        self,
        variant: str = "ABCD+lr",
        sharing: Sharing = "connection",
        shapes: Sequence[tuple[int, int]] = (),
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not shapes:
            raise UsageError("rule ABCD needs the shapes of all layers, which this network does not tell")
        self.variant = check_choice("variant", variant, VARIANTS)
        self.sharing = _check_sharing(sharing)
        self.terms, *after = self.variant.split("+")
        self.names = (*self.terms, *({"lr": "η", "D": "D'"}[name] for name in after))
        """The coefficients, in the order in which they are kept."""
        generator = torch.Generator().manual_seed(seed + 1)  # the seed itself draws the network's slow weights

        def draw(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(len(self.names), *shape, generator=generator))

        self.coefficients: nn.Parameter | nn.ParameterList
        if isinstance(self.sharing, int):
            self.coefficients = draw(self.sharing)
            for layer, shape in enumerate(shapes):
                clusters = torch.randint(self.sharing, shape, generator=generator)
                self.register_buffer(f"clusters_{layer}", clusters)
        else:
            alone = self.sharing == "connection"
            self.coefficients = nn.ParameterList(draw(*(shape if alone else (1, 1))) for shape in shapes)

    def change(self, signals: Signals) -> Tensor:
        """The change of a layer's weights (..., n, m), in as few passes over the coefficients as there can be."""
        of = self._of_layer(signals.layer)
        pre, post = signals.pre.unsqueeze(-1), signals.post.unsqueeze(-2)
        first, second = signals.scratch or (None, None)
        rows = (None, None) if self.sharing == "layer" else (first, second)  # shared coefficients make single rows
        slope = _multiply_add(of.get("B"), of["A"], post, rows[0])
        rest = _multiply_add(of.get("D"), of["C"], post, rows[1]) if "C" in of else of.get("D")
        total = _multiply_add(rest, slope, pre, first)
        return _multiply_add(of.get("D'"), of["η"], total, second) if "η" in of else total

    def describe(self) -> str:
        """The rule as a formula; coefficients by layer or cluster, with means where they differ between connections."""
        total = " + ".join(TERMS[name] for name in self.terms)
        formula = f"η·({total})" if "η" in self.names else total
        lines = [f"Δw = {formula}" + (" + D'" if "D'" in self.names else "")]
        if isinstance(self.coefficients, nn.ParameterList):
            means = "" if self.sharing == "layer" else ", means"
            rows = {f"layer {i}{means}": value.mean((-2, -1)) for i, value in enumerate(self.coefficients, 1)}
        else:
            rows = {f"cluster {i}": value for i, value in enumerate(self.coefficients.unbind(-1), 1)}
        for row, values in rows.items():
            pairs = zip(self.names, values.tolist(), strict=True)
            lines.append(f"{row}: " + ", ".join(f"{name} = {value:.3g}" for name, value in pairs))
        return "\n".join(lines)

    def _of_layer(self, layer: int) -> dict[str, Tensor]:
        """A layer's coefficients by name, for all episodes: (..., 1, n, m), or (..., 1, 1, 1) if it shares them."""
        if isinstance(self.coefficients, nn.ParameterList):
            values: Tensor = self.coefficients[layer]
        else:
            clusters = self.get_buffer(f"clusters_{layer}")
            chosen = clusters.flatten().expand(*self.coefficients.shape[:-1], -1)  # several times as fast as an index
            values = self.coefficients.gather(-1, chosen).view(*chosen.shape[:-1], *clusters.shape)
        return dict(zip(self.names, values.unsqueeze(-3).unbind(-4), strict=True))


def _multiply_add(constant: Tensor | None, factor: Tensor, other: Tensor, out: Tensor | None) -> Tensor:
    """The sum constant + factor · other, in one pass, in `out` if it is there."""
    if constant is None:
        return torch.mul(factor, other, out=out)
    return torch.addcmul(constant, factor, other, out=out)


def _check_sharing(sharing: Sharing) -> Sharing:
    a_number = isinstance(sharing, int) and not isinstance(sharing, bool) and sharing >= 1
    if not a_number and sharing not in ("connection", "layer"):
        raise UsageError(f"sharing must be connection, layer or a number of clusters, at least 1, not {sharing!r}")
    return sharing
