"""Figures of a report: nothing is cut off or overprinted, and every axis says what it shows."""

import itertools

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from evolution import plots, plots_inside
from evolution.inside import RateTrace, Sample, WeightTrace
from plastic_envs import make_task
from plastic_envs.rendering import draw_episode
from tests.test_report import summary

LONG = ("additive-hebb,modulation=double-sigmoid", "additive-hebb,modulation=tanh,retroactive=true", "none")


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, laid out."""
    figures = []

    def keep(canvas, path):
        canvas.draw_without_rendering()
        figures.append(canvas)

    for module in (plots, plots_inside):
        monkeypatch.setattr(module, "save", keep)
    return figures


@pytest.mark.parametrize("rules", [LONG, ("hebbian", "decaying-hebb", "none-wide"), ("none",)])
@pytest.mark.parametrize("searchers", [("backprop,learning_rate=0.0003", "backprop,learning_rate=0.01"), ("pgpe",)])
def test_names_of_scores_do_not_overlap(rules, searchers, drawn, tmp_path):
    made = summary({pair: [0.1, 0.2] for pair in itertools.product(rules, searchers)})
    plots.final_scores(made, tmp_path / "scores.png")
    labels = drawn[0].axes[0].get_xticklabels()
    boxes = [label.get_window_extent() for label in labels]
    assert len(boxes) == len(rules) * len(searchers)
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    assert all(box.x0 >= 0 and box.y0 >= 0 for box in boxes)


@pytest.mark.parametrize(("rates", "low"), [([0.5, -0.75], -0.75), ([0.5, 0.25], 0)])
def test_signed_rates_are_not_cut_off(rates, low, drawn, tmp_path):
    made = summary({("hebbian", "backprop"): [0.1]})
    trace = RateTrace("hebbian", "backprop", np.array([rates]), np.array([False, True]))
    plots_inside.internal_rate(made, [trace], tmp_path / "rate.png")
    bottom = drawn[0].axes[0].get_ylim()[0]
    assert bottom < low if low else bottom == 0


def test_steps_of_fast_weights_are_those_of_the_axis_below(drawn, tmp_path):
    weights = {"recurrent": np.arange(44, dtype=np.float32).reshape(11, 2, 2)}
    trace = WeightTrace("any", weights, np.linspace(-1, 1, 11, dtype=np.float32), np.arange(11) == 10)
    plots_inside.fast_weights(trace, tmp_path / "weights.png")
    titles = [title for axes in drawn[0].axes if (title := axes.get_title(loc="left"))]
    assert titles == ["step 0", "step 2", "step 5", "step 8", "step 10"]
    below = drawn[0].axes[-1]
    assert below.get_xlim() == (-0.5, 10.5)
    assert below.get_ylabel() == "norm, modulator"
    assert below.get_legend_handles_labels()[1] == ["norm of recurrent, as a share of its largest", "modulator"]


def sample(spec):
    task = make_task(spec)
    episode = task.sample(1, torch.Generator().manual_seed(0))
    return Sample("any", task, episode, task.oracle(episode))


def test_an_episode_of_completion_is_drawn_as_its_environments_do(drawn, tmp_path):
    plots_inside.sample_episode(sample("SmallPatternCompletion"), tmp_path / "episode.png")
    titles = [axes.get_title() for axes in drawn[0].axes]
    assert titles == ["item 1", "item 2", "shown now, in part", "answer", "asked for"]
    answer, truth = (drawn[0].axes[place].images[0].get_array() for place in (3, 4))
    assert np.ma.allequal(answer, truth)
    assert drawn[0].texts[0].get_text() == "PatternCompletion · step 11/11 · error rate 0.000"


@pytest.mark.parametrize("spec", ["CueReward", "FewShotImageClassification,n_way=3"])
def test_other_episodes_are_drawn_whole(spec, tmp_path):
    one = sample(spec)
    plots_inside.sample_episode(one, tmp_path / "episode.png")
    whole = plots.Figure(figsize=(9, 5), dpi=100)
    plots.save(draw_episode(one.task, one.episode, one.outputs, figure=whole), tmp_path / "whole.png")
    assert np.array_equal(imread(tmp_path / "episode.png"), imread(tmp_path / "whole.png"))
