"""What a claim is run with, and what it comes to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evolution.evaluation.statistics import Interval
from plastic_envs.utils.checks import check_bool, check_int
from plastic_envs.utils.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Value = str | int | float | bool


@dataclass(frozen=True)
class ClaimSettings:
    """How a claim is run.

    Raises:
        UsageError: a value is of another kind.
    """

    full: bool = False  # larger, or the paper's sizes, rather than within minutes
    seed: int = 0  # root of all random streams
    jobs: int = 1  # processes side by side, in claims that train agents of several kinds; the figures are the same
    folder: Path | None = None  # where these claims keep each agent that is trained, and find it again

    def __post_init__(self) -> None:
        object.__setattr__(self, "full", check_bool("full", self.full))
        object.__setattr__(self, "seed", check_int("seed", self.seed, low=0))
        object.__setattr__(self, "jobs", check_int("jobs", self.jobs, low=1))


@dataclass(frozen=True)
class Finding:
    """What came of a claim.

    Raises:
        UsageError: there are no figures, or their rows have different columns.
    """

    claim: str  # in one sentence
    source: str  # paper, and the place in it
    holds: bool | None  # None: there is nothing to pass or fail
    verdict: str  # why, in one sentence with the figures that decide
    figures: Sequence[Mapping[str, Value]]  # rows of one table, all with the same columns
    draw: Callable[["Figure"], None]  # the picture
    size: tuple[float, float] = (9.0, 4.5)  # of the picture, inches

    def __post_init__(self) -> None:
        if not self.figures or any(row.keys() != self.figures[0].keys() for row in self.figures):
            raise UsageError("figures must be rows of one table: at least one, all with the same columns")

    @property
    def outcome(self) -> str:
        """`holds` in words."""
        return {True: "holds", False: "does not hold", None: "no pass or fail"}[self.holds]

    def text(self) -> str:
        """Claim, source, figures and outcome, for a terminal."""
        table = [list(self.figures[0]), *([_show(value) for value in row.values()] for row in self.figures)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ["  ".join(map(str.rjust, row, widths)).rstrip() for row in table]
        outcome = self.outcome[0].upper() + self.outcome[1:]
        return "\n".join([self.claim, f"Source: {self.source}", "", *lines, "", f"{outcome}: {self.verdict}", ""])


def half_width(interval: Interval) -> Value:
    """Half the width of an interval, for a table; a dash where there is none."""
    return "-" if interval.half_width is None else interval.half_width


def _show(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
