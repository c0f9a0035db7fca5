"""Figures of what happens inside an episode: the learning rate, one episode as it was lived, its fast weights."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from evolution.evaluation.inside import RateTrace, Sample, WeightTrace
from evolution.reports.plots.curves import figure, look, save, title
from evolution.reports.plots.style import strokes
from evolution.reports.summary import Summary
from plastic_envs.core.supervised import SupervisedState
from plastic_envs.rendering.episode import SCORED

SNAPSHOTS = 5
"""How many steps of an episode fast weights are shown at."""


def internal_rate(summary: Summary, traces: Sequence[RateTrace], path: Path) -> None:
    """The learning rate that agents set themselves, step by step, mean over evaluation episodes and seeds."""
    with figure(path, 9.0, 3.6) as canvas:
        axes = canvas.subplots()
        recalling = traces[0].recalling
        steps = np.arange(len(recalling))
        shade_steps(axes, recalling)
        for trace in traces:
            cell = summary.find(trace.rule, trace.searcher)
            assert cell is not None
            how = look(summary, cell, len(steps))
            for seed in trace.rates if len(trace.rates) > 1 else ():
                axes.plot(steps, seed, color=how["color"], ls=how["ls"], lw=0.8, alpha=0.25)
            axes.plot(steps, trace.rates.mean(0), label=cell.name, **how)
        axes.set_xlim(-0.5, len(recalling) - 0.5)
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))  # a signed modulator falls below 0
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("step of the episode (shaded: the steps that are scored)")
        axes.set_ylabel("internal learning rate")
        title(axes, "How fast agents let their weights change", summary)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=3)


def sample_episode(sample: Sample, path: Path) -> None:
    """One episode as the task's environments render it at its end."""
    drawn = Figure(figsize=(9, 5), dpi=100)  # tasks count in pixels
    task = sample.task
    actions = task.action(sample.outputs[:, 0]).detach().cpu().unbind()  # one for each step
    task.draw(drawn, SupervisedState(sample.episode, task.horizon), 0, actions)
    save(drawn, path)


def fast_weights(trace: WeightTrace, path: Path) -> None:
    """The fast weights of every layer after some steps of one episode, and their size and modulator over all."""
    steps = len(trace.recalling)
    shown = np.unique(np.linspace(0, steps - 1, min(SNAPSHOTS, steps)).round().astype(int))
    layers = list(trace.weights)
    with figure(path, 2.0 * len(shown) + 1.6, 1.7 * len(layers) + 2.2) as canvas:
        grid = canvas.add_gridspec(len(layers) + 1, len(shown), height_ratios=[*(len(layers) * [1.0]), 1.0])
        for row, layer in enumerate(layers):
            matrices = trace.weights[layer]
            scale = float(np.abs(matrices).max()) or 1.0
            panels = [canvas.add_subplot(grid[row, place]) for place in range(len(shown))]
            for panel, step in zip(panels, shown, strict=True):
                image = panel.imshow(
                    matrices[step], cmap="RdBu_r", vmin=-scale, vmax=scale, aspect="auto", interpolation="nearest"
                )
                panel.set_xticks([])
                panel.set_yticks([])
                panel.grid(visible=False)
                if row == 0:
                    panel.set_title(f"step {step}", fontsize=9, fontweight="normal")
                panel.set_xlabel("postsynaptic unit →" if row == len(layers) - 1 else "", fontsize=8)
            panels[0].set_ylabel(f"{layer}\n← presynaptic unit", fontsize=8)
            bar = canvas.colorbar(image, ax=panels, fraction=0.03, pad=0.01)
            bar.ax.tick_params(labelsize=7)
            bar.set_label("fast weight", fontsize=8)
        axes = canvas.add_subplot(grid[len(layers), :])
        shade_steps(axes, trace.recalling)
        hows = strokes(layers)
        for layer, matrices in trace.weights.items():
            norm = np.sqrt(np.square(matrices).sum((1, 2)))
            axes.plot(
                np.arange(steps),
                norm / (norm.max() or 1.0),
                label=f"norm of {layer}, as a share of its largest",
                **hows[layer],
            )
        if trace.modulator is not None:
            axes.plot(np.arange(steps), trace.modulator, color="black", marker=".", lw=1.0, label="modulator")
        axes.set_xlim(-0.5, steps - 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("step of the episode (shaded: the steps that are scored)")
        axes.set_ylabel("norm, modulator", fontsize=9)
        canvas.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)


def shade_steps(axes: Axes, scored: NDArray[np.bool_]) -> None:
    """Mark the steps that are scored."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], scored.astype(int), [0]])))
    for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        axes.axvspan(start - 0.5, stop - 0.5, color=SCORED, lw=0, zorder=0)
