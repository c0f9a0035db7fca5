"""Claim 3b: mistakes of an output rule that also learns from examples near the threshold."""

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from evolution.claims.cristian.one_neuron import Problems, draw_problems, table, update
from evolution.claims.cristian.separation import LABELS, counterexample
from evolution.claims.finding import ClaimSettings, Finding, Value
from evolution.reports.plots.style import PALETTE, STYLES
from evolution.seeding import make_generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATIOS = (1, 2, 4, 8)
FLIPPED = (0.0, 0.1)
N_UNITS, MARGIN = 16, 0.5


def near_threshold(settings: ClaimSettings) -> Finding:
    """The constant c in mistakes = c·(b²/a²)(R² + D² + 2γ)/γ² as it comes out, for sequences of growing length.

    The paper states no constant and prints no proof, so there is nothing to pass or fail; a c that goes on growing with
    the length of the sequence says that there is none for such data. Each problem is one sequence of fresh examples,
    shown once, with the margin γ before labels are flipped, or claim 3's counterexample shown in turn. R² is the number
    of units, and D² the sum over the sequence of max(0, γ − y w*·x), as printed.
    """
    n_problems, length = (200, 10_000) if settings.full else (50, 2_000)
    checks = [length // 100, length // 10, length]
    rows: list[dict[str, Value]] = []
    for (name, flipped), problems in _draw_sequences(n_problems, length, settings.seed).items():
        for ratio in RATIOS:
            margin = MARGIN if name in LABELS.values() else float(problems.agreement.min())
            constants = measure(problems, ratio, margin)[:, [check - 1 for check in checks]].mean(0).tolist()
            row: dict[str, Value] = {"data": name, "flipped": flipped, "b/a": ratio}
            rows.append(row | {f"c after {check}": value for check, value in zip(checks, constants, strict=True)})
    return Finding(
        claim="If examples are also learnt from when within γ of the threshold, the rule [−a,a;b,−b] makes "
        "O(b²/a² · (R² + D² + 2γ)/γ²) mistakes on any sequence.",
        source="Cristian, Dabagia, Papadimitriou, Vempala 2020, theorem 4 (appendix B; no proof, no constant)",
        holds=None,
        verdict=_verdict(rows, checks),
        figures=rows,
        draw=partial(_draw, rows, checks),
        size=(12.0, 4.2),
    )


def _draw_sequences(n_problems: int, length: int, seed: int) -> dict[tuple[str, float], Problems]:
    """By the kind of data and the share of labels flipped; the counterexample of claim 3 is shown again and again."""
    generator = make_generator(seed, "claim")
    sequences = {}
    for one_label, name in LABELS.items():
        clean = draw_problems(n_problems, length, N_UNITS, MARGIN, one_label, generator)
        for flipped in FLIPPED:
            flips = 1 - 2 * (torch.rand(clean.labels.shape, generator=generator) < flipped).double()
            sequences[name, flipped] = clean._replace(labels=clean.labels * flips)
    in_turn = torch.arange(length) % 3
    inputs, labels, teacher = counterexample()
    sequences["counterexample", 0.0] = Problems(inputs[:, in_turn], labels[:, in_turn], teacher)
    return sequences


def measure(problems: Problems, ratio: float, margin: float) -> Tensor:
    """Mistakes over (b²/a²)(R² + D² + 2γ)/γ² after each example of every sequence, (P, m)."""
    weights, rule = torch.zeros_like(problems.teacher), table(ratio)
    mistakes = torch.zeros_like(problems.labels)
    for step, labels in enumerate(problems.labels.unbind(1)):
        inputs = problems.inputs[:, step]
        score = labels * (inputs * weights).sum(-1)  # (P,)
        mistakes[:, step] = score <= 0
        weights = update(weights, inputs, labels, rule, score <= margin)
    slack = (margin - problems.agreement).clamp(min=0).cumsum(-1)  # (P, m), D²
    return mistakes.cumsum(-1) * margin**2 / (ratio**2 * (problems.inputs.shape[-1] + slack + 2 * margin))


def _verdict(rows: list[dict[str, Value]], checks: list[int]) -> str:
    first, last = (f"c after {check}" for check in (checks[1], checks[2]))
    growing = [row for row in rows if float(row[last]) > 2 * float(row[first])]
    settled = [float(row[last]) for row in rows if row not in growing]
    where = "; ".join(f"{row['data']}{_flipped(row)} at b/a = {row['b/a']}" for row in growing)
    sentence = f"the measured constant is at most {max(settled):.2g}" if settled else "no constant was found"
    if not growing:
        return f"{sentence} and does not double from {checks[1]} to {checks[2]} examples"
    return f"{sentence}, but it more than doubles from {checks[1]} to {checks[2]} examples for: {where}"


def _flipped(row: dict[str, Value]) -> str:
    return f", {float(row['flipped']):.0%} flipped" if row["flipped"] else ""


def _draw(rows: list[dict[str, Value]], checks: list[int], canvas: "Figure") -> None:
    """The constant against the length of the sequence; a panel per kind of data, a line per b/a and share flipped."""
    names = list(dict.fromkeys(str(row["data"]) for row in rows))
    for axes, name in zip(canvas.subplots(1, len(names), sharey=True), names, strict=True):
        for row in rows:
            if row["data"] == name:
                axes.plot(
                    checks, [float(row[f"c after {check}"]) for check in checks],
                    color=PALETTE[RATIOS.index(int(row["b/a"]))], ls=STYLES[bool(row["flipped"])], marker=".",
                    label=f"b/a = {row['b/a']}{_flipped(row)}",
                )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("examples")
        axes.set_title(name[0].upper() + name[1:])
        axes.legend(ncols=2, fontsize=7.5)
    canvas.axes[0].set_ylabel("mistakes · a²γ² / b²(R² + D² + 2γ)")
