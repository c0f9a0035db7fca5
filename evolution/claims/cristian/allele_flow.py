"""Claim 9: natural selection of allele frequencies follows gradient descent."""

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Generator, Tensor

from evolution.claims.finding import ClaimSettings, Finding, Value, half_width
from evolution.evaluation.statistics import mean_interval
from evolution.reports.plots.style import PALETTE, strokes
from evolution.searchers.evolutionary.alleles import draw, express, select
from evolution.seeding import make_generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_GENES, EPSILON = 20, 0.1  # Y from −2 to 2, of standard deviation 0.45 in the first generation
CHECKS = 10  # generations at which the flow is compared, evenly spaced
LEVEL = 0.99  # of all comparisons together


class Landscape(NamedTuple):
    """What selection descends."""

    loss: Callable[[Tensor], Tensor]  # L(Y)
    slope: Callable[[Tensor], Tensor]  # L'(Y)
    theta: float  # θ, small enough for θ·L < 1 everywhere


LANDSCAPES = {
    "(Y − 1.6)²": Landscape(lambda y: (y - 1.6) ** 2, lambda y: 2 * (y - 1.6), 0.05),
    "log(1 + exp(−2Y))": Landscape(lambda y: torch.log1p(torch.exp(-2 * y)), lambda y: -2 * torch.sigmoid(-2 * y), 0.1),
}


class Course(NamedTuple):
    """Ȳ by generation, (G + 1,) each or (populations, G + 1)."""

    measured: Tensor
    flow: Tensor
    first_order: Tensor
    printed: Tensor


def allele_flow(settings: ClaimSettings) -> Finding:
    """Populations of one parameter Y with 20 genes, every frequency 1/2 at first, under two losses L(Y).

    The mean of Ȳ over independent populations is compared with the flow x' = x − θx(1 − x)(∂F/∂x)/(1 − θF), F the
    expected loss; with its first order Ȳ' = Ȳ − θ·Var(Y)·L'(Ȳ); and with the factor 2 − 2x that the paper prints in
    place of x(1 − x). It holds if the flow lies within the Student-t intervals of the mean, 99% for all comparisons
    together, at ten generations under both losses. Beside it, the factor itself from single generations.
    """
    generator = make_generator(settings.seed, "claim")
    n_populations, popsize, generations = (64, 10_000, 400) if settings.full else (32, 1_000, 150)
    rows: list[dict[str, Value]] = []
    courses, factors = {}, {}
    for name, landscape in LANDSCAPES.items():
        courses[name] = follow(landscape, n_populations, popsize, generations, generator)
        factors[name] = measure_factors(landscape, n_populations, popsize, generator)
        rows += _course_rows(name, courses[name], generations) + _factor_rows(name, factors[name])
    holds = all(row["flow fits"] for row in rows if row["quantity"] == "mean of Y")
    return Finding(
        claim="Natural selection of a parameter that many genes add up to is gradient descent on a function of the "
        "allele frequencies, where selection is weak.",
        source="Cristian, Dabagia, Papadimitriou, Vempala 2020, appendix C (printed factor 2 − 2x; its model gives "
        "x(1 − x))",
        holds=holds,
        verdict=_verdict(rows, holds),
        figures=rows,
        draw=partial(_draw, courses, factors),
        size=(11.0, 6.6),
    )


def next_generation(frequencies: Tensor, landscape: Landscape, popsize: int, generator: Generator) -> Tensor:
    """Frequencies (R, n) of R populations after they were drawn and selected, as `Alleles` does it."""
    alleles = draw(frequencies, popsize, generator).transpose(0, 1)  # (R, P, n)
    return select(frequencies, alleles, landscape.loss(express(alleles, EPSILON)), landscape.theta)


def mean_of(frequencies: Tensor) -> Tensor:
    """Ȳ (...) of frequencies (..., n)."""
    return express(frequencies * 2 - 1, EPSILON)


def expected_loss(x: Tensor, landscape: Landscape) -> tuple[Tensor, Tensor]:
    """F and ∂F/∂xᵢ for genes that all have the frequency x (...), exactly, from the binomial distribution."""

    def expectation(n_genes: int, loss: Callable[[Tensor], Tensor]) -> Tensor:
        n_plus = torch.arange(n_genes + 1, dtype=torch.float64)
        weight = torch.tensor([math.comb(n_genes, k) for k in range(n_genes + 1)], dtype=torch.float64)
        weight = weight * x.unsqueeze(-1) ** n_plus * (1 - x.unsqueeze(-1)) ** (n_genes - n_plus)
        return (weight * loss(EPSILON * (2 * n_plus - n_genes))).sum(-1)

    def gain(others: Tensor) -> Tensor:  # of the loss, when one gene turns from − to + and the others give this
        return landscape.loss(others + EPSILON) - landscape.loss(others - EPSILON)

    return expectation(N_GENES, landscape.loss), expectation(N_GENES - 1, gain)


def follow(landscape: Landscape, n_populations: int, popsize: int, generations: int, generator: Generator) -> Course:
    """Let populations evolve, and the three predictions beside them."""
    frequencies = torch.full((n_populations, N_GENES), 0.5, dtype=torch.float64)
    x, printed, mean = (torch.tensor(value, dtype=torch.float64) for value in (0.5, 0.5, 0.0))
    span, theta = N_GENES * EPSILON, landscape.theta
    courses: list[tuple[Tensor, ...]] = []
    for _ in range(generations + 1):
        courses.append((mean_of(frequencies), span * (2 * x - 1), mean, span * (2 * printed - 1)))
        frequencies = next_generation(frequencies, landscape, popsize, generator)
        loss, slope = expected_loss(x, landscape)
        x = x - theta * x * (1 - x) * slope / (1 - theta * loss)
        variance = (span**2 - mean**2) / N_GENES  # 4ε²n·x(1 − x)
        mean = mean - theta * variance * landscape.slope(mean)
        per_gene = 2 * EPSILON * landscape.slope(span * (2 * printed - 1))  # ∂L(Ȳ)/∂x
        printed = (printed - theta * (2 - 2 * printed) * per_gene).clamp(0, 1)
    return Course(*(torch.stack(values, -1) for values in zip(*courses, strict=True)))


def measure_factors(
    landscape: Landscape, n_populations: int, popsize: int, generator: Generator
) -> dict[float, Tensor]:
    """−Δx(1 − θF)/(θ ∂F/∂x) over one generation from different frequencies, a value (R,) per population."""
    factors = {}
    for frequency in (0.1, 0.3, 0.5, 0.7, 0.9):
        x = torch.tensor(frequency, dtype=torch.float64)
        loss, slope = expected_loss(x, landscape)
        before = x.expand(n_populations, N_GENES)
        change = (next_generation(before, landscape, popsize, generator) - before).mean(-1)
        factors[frequency] = -change * (1 - landscape.theta * loss) / (landscape.theta * slope)
    return factors


def _compare(values: Tensor, flow: float, first_order: float, printed: float) -> dict[str, Value]:
    interval = mean_interval(values.tolist(), level=1 - (1 - LEVEL) / (CHECKS * len(LANDSCAPES)))
    return {
        "measured": interval.mean,
        "± half width": half_width(interval),
        "flow": flow,
        "first order": first_order,
        "as printed": printed,
        "flow fits": interval.fits(flow),
        "printed fits": interval.fits(printed),
    }


def _course_rows(name: str, course: Course, generations: int) -> list[dict[str, Value]]:
    rows = []
    for place in range(generations // CHECKS, generations + 1, generations // CHECKS):
        head: dict[str, Value] = {"loss": name, "quantity": "mean of Y", "generation or x": place}
        rows.append(head | _compare(course.measured[:, place], *(float(line[place]) for line in course[1:])))
    return rows


def _factor_rows(name: str, factors: dict[float, Tensor]) -> list[dict[str, Value]]:
    rows = []
    for x, values in factors.items():
        head: dict[str, Value] = {"loss": name, "quantity": "factor", "generation or x": x}
        rows.append(head | _compare(values, x * (1 - x), x * (1 - x), 2 - 2 * x))
    return rows


def _verdict(rows: list[dict[str, Value]], holds: bool) -> str:
    means = [row for row in rows if row["quantity"] == "mean of Y"]
    fitting, printed = (sum(bool(row[key]) for row in means) for key in ("flow fits", "printed fits"))
    return (
        f"the predicted flow lies within the interval of the measured mean at {fitting} of {len(means)} generations, "
        f"the flow with the printed factor 2 − 2x at {printed}"
        + ("" if holds else ", where all of them should")
        + "; a flow of x(1 − x) is gradient descent on z = 2 arcsin √x"
    )


def _draw(courses: dict[str, Course], factors: dict[str, dict[float, Tensor]], canvas: "Figure") -> None:
    """A row per loss: the mean of Y over the generations, and the factor against x."""
    hows = strokes(("populations, mean", "flow", "first order", "as printed"))
    for (left, right), name in zip(canvas.subplots(len(courses), 2), courses, strict=True):
        course = courses[name]
        left.plot(course.measured.T, color="#BBBBBB", lw=0.5)
        for line, (label, how) in zip((course.measured.mean(0), *course[1:]), hows.items(), strict=True):
            left.plot(line, label=label, **how)
        left.set_ylabel("mean of Y")
        left.set_xlabel("generation")
        left.set_title(f"Loss {name}")
        x = torch.linspace(0, 1, 101)
        right.plot(x, x * (1 - x), label="x(1 − x)", **hows["flow"])
        right.plot(x, 2 - 2 * x, label="2 − 2x, as printed", **hows["as printed"])
        for place, values in factors[name].items():
            half = mean_interval(values.tolist()).half_width
            right.errorbar(place, float(values.mean()), half, fmt="o", color=PALETTE[0], capsize=3)
        right.set_xlabel("frequency x of the + allele")
        right.set_ylabel("factor of ∂F/∂x in a generation")
    for axes in canvas.axes[:2]:
        axes.legend(loc="best", handlelength=3)
