"""Figures of a report: nothing is cut off, overprinted or empty, and every axis says what it shows."""

import itertools
import math
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.image import imread
from matplotlib.text import Text

from evolution.claims.learners import Contest
from evolution.claims.trainings import Curve
from evolution.evaluation.inside import RateTrace, Sample, WeightTrace
from evolution.reports.plots import curves as plots
from evolution.reports.plots import generations as plots_generations
from evolution.reports.plots import inside as plots_inside
from evolution.reports.plots.references import apart
from evolution.reports.plots.style import GREYS, PALETTE, RC, strokes
from evolution.runs.history import HistoryRow
from plastic_envs import make_task
from plastic_envs.core.supervised import SupervisedState
from tests.reports.test_report import summary

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
    *titles, _ = [axes.get_title() for axes in drawn[0].axes]
    assert drawn[0].axes[-1].get_ylim() == (-1, 1)
    assert titles == ["item 1", "item 2", "shown now, in part", "answer", "asked for"]
    answer, truth = (drawn[0].axes[place].images[0].get_array() for place in (3, 4))
    assert np.ma.allequal(answer, truth)
    assert drawn[0].texts[0].get_text() == "PatternCompletion · step 11/11 · error rate 0.0%"


@pytest.mark.parametrize("spec", ["CueReward", "FewShotImageClassification,n_way=3"])
def test_other_episodes_are_drawn_whole(spec, tmp_path):
    one = sample(spec)
    plots_inside.sample_episode(one, tmp_path / "episode.png")
    whole = plots.Figure(figsize=(9, 5), dpi=100)
    one.task.draw(whole, SupervisedState(one.episode, one.task.horizon), 0, one.task.action(one.outputs[:, 0]).unbind())
    plots.save(whole, tmp_path / "whole.png")
    assert np.array_equal(imread(tmp_path / "episode.png"), imread(tmp_path / "whole.png"))


def with_history(made, values=(0.3, 0.2, 0.1)):
    """The same summary with equal learning curves for all its runs."""
    rows = tuple(HistoryRow(50 * n, 0, 0.0, value, 0.0, 1.0, value, 1.0 + n, 1.0) for n, value in enumerate(values))
    cells = [replace(cell, runs=tuple(replace(run, history=rows) for run in cell.runs)) for cell in made.cells]
    return replace(made, cells=tuple(cells))


@pytest.mark.parametrize("searchers", [("backprop",), ("backprop", "pgpe"), ("backprop", "pgpe", "snes")])
def test_curves_that_coincide_stay_visible(searchers, drawn, tmp_path):
    """Each is thinner than those below it; where the colour is the same, style and marks differ."""
    cells = list(itertools.product(("hebbian", "gradient", "none", "none-wide"), searchers))
    plots.learning_curves(with_history(summary({pair: [0.1] for pair in cells})), tmp_path / "curves.png")
    lines = drawn[0].axes[0].get_lines()[: len(cells)]
    assert all(np.array_equal(line.get_ydata(), lines[0].get_ydata()) for line in lines)
    widths = [line.get_linewidth() for line in lines]
    assert all(below > above >= 1 for below, above in itertools.pairwise(widths))
    for one, other in itertools.combinations(lines, 2):
        assert (one.get_color(), one.get_marker()) != (other.get_color(), other.get_marker())


@pytest.mark.parametrize("n_lines", [1, 3, 6])
def test_strokes_tell_lines_apart_where_they_coincide(n_lines):
    names = [str(number) for number in range(n_lines)]
    drawn = list(strokes(names, grey=names[1:2]).values())
    assert len({how["color"] for how in drawn}) == n_lines
    assert [how["color"] in GREYS for how in drawn] == [number == 1 for number in range(n_lines)]
    for below, above in itertools.pairwise(drawn):
        assert below["lw"] > above["lw"] >= 1
        assert below["ls"] != above["ls"]


@pytest.mark.parametrize(
    ("task", "label"), [("PatternCompletion", "25%"), ("OnlineClassification", "25%"), ("CueReward", "")]
)
def test_claims_draw_shares_in_percent_and_every_kind_in_the_palette(task, label):
    contest = Contest(make_task(task), {}, ["ours"], 4, 2, 1, 4, 0.1, "a title")
    table = {name: [Curve((0, 4), (0.5, 0.25), 1.0, 3, None)] * 2 for name in ("ours", "theirs")}
    with mpl.rc_context(RC):
        axes = plots.Figure().subplots()
        contest.draw(table, axes)
        assert axes.yaxis.get_major_formatter()(0.25) == label
        assert mpl.colors.to_hex("C1").upper() == PALETTE[1]
    assert axes.get_title(loc="left") == "a title"
    assert axes.get_xlabel()
    assert axes.get_ylabel()
    assert {line.get_label(): line.get_color() for line in axes.lines if line.get_label() in table} == {
        "ours": PALETTE[0],
        "theirs": GREYS[0],
    }


def test_a_legend_has_only_what_is_drawn(drawn, tmp_path):
    made = with_history(summary({("hebbian", "backprop"): [0.1], ("none", "pgpe"): [0.2]}))
    missing = summary({("gradient", "snes"): [0.3]}).cells
    plots.learning_curves(replace(made, cells=(*made.cells, *missing)), tmp_path / "curves.png")
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["hebbian", "none", "backprop", "pgpe"]


@pytest.mark.parametrize("values", [(0.3,), (0.3, math.nan)])
def test_one_evaluation_is_a_point(values, drawn, tmp_path):
    plots.learning_curves(with_history(summary({("hebbian", "backprop"): [0.1]}), values), tmp_path / "curves.png")
    assert drawn[0].axes[0].get_lines()[0].get_marker() == "o"


@pytest.mark.parametrize(("reward", "panels"), [(False, 2), (True, 3)])
def test_generations_have_no_empty_panel(reward, panels, drawn, tmp_path):
    made = summary({("hebbian", "pgpe"): [0.1, 0.2]})
    names = ["episodes", "fitness_q1", "fitness_median", "fitness_q3", "diversity"]
    names += [f"reward_age_{age}" for age in range(1, 5)] * reward
    runs = []
    for run in made.cells[0].runs:
        runs.append(replace(run, folder=tmp_path / str(run.settings.seed)))
        runs[-1].folder.mkdir()
        (runs[-1].folder / "steps.csv").write_text("\n".join([",".join(names), *(["1" + ",1" * (len(names) - 1)] * 3)]))
    cell = replace(made.cells[0], runs=tuple(runs))
    plots_generations.generations(replace(made, cells=(cell,)), tmp_path / "generations.png")
    assert len(drawn[0].axes) == panels
    assert all(axes.has_data() and axes.get_xlabel() and axes.get_ylabel() for axes in drawn[0].axes)


def test_names_of_references_do_not_overlap(drawn, tmp_path):
    values = (0.0, 0.001, 0.02, 0.021, 0.03, 0.3, 0.301, 0.31, 0.5)
    held = {f"reference {number}": value for number, value in enumerate(values)}
    plots.final_scores(summary({("hebbian", "backprop"): [0.1]}, references=held), tmp_path / "scores.png")
    labels = [text for text in drawn[0].axes[0].texts if text.get_text().startswith("reference")]
    assert ", ".join(text.get_text() for text in labels) == ", ".join(held)  # all of them, in order
    boxes = [Text.get_window_extent(label) for label in labels]  # without the line that leads to it
    assert all(below.y1 <= above.y0 for below, above in itertools.pairwise(boxes))
    assert all(box.y0 >= 0 and box.x1 <= drawn[0].bbox.x1 for box in boxes)


def test_labels_stay_where_there_is_room():
    assert apart([0.1, 0.5, 0.9], 0.1) == [0.1, 0.5, 0.9]
    assert apart([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
    assert apart([0.0, 0.0, 0.05], 0.1) == pytest.approx([0.0, 0.1, 0.2])


def test_a_rule_has_one_colour_everywhere():
    orders = [("none", "oja", "hebbian"), ("oja",), ("hebbian,rate=2", "mine:Rule", "oja", "none")]
    assert {plots.colour("oja", rules) for rules in orders} == {"#CC79A7"}
    many = [f"oja,eta=0.{number}" for number in range(8)]
    assert len({plots.colour(rule, many) for rule in many}) == 8


def test_rules_on_several_networks_are_told_apart():
    rules = [f"{rule} on {network}" for rule in ("hebbian", "none") for network in ("plastic-rnn", "self-modulated")]
    colours = [plots.colour(rule, rules) for rule in rules]
    assert colours[0] == plots.colour("hebbian", ("hebbian",))
    assert len(set(colours)) == 4
    assert set(colours[2:]) < set(GREYS)  # without plasticity
    several = ("hebbian on plastic-rnn", "hebbian on self-modulated", "gradient on self-modulated")
    assert plots.colour(several[2], several) == plots.colour("gradient", ("gradient",))


def test_fast_weights_say_which_side_is_which(drawn, tmp_path):
    weights = {"recurrent": np.zeros((4, 2, 3), np.float32), "output": np.ones((4, 3, 1), np.float32)}
    trace = WeightTrace("any", weights, None, np.arange(4) == 3)
    plots_inside.fast_weights(trace, tmp_path / "weights.png")
    labels = {axes.get_ylabel() for axes in drawn[0].axes} | {axes.get_xlabel() for axes in drawn[0].axes}
    assert {"recurrent\n← presynaptic unit", "output\n← presynaptic unit", "postsynaptic unit →"} <= labels
    assert [axes.get_ylabel() for axes in drawn[0].axes].count("fast weight") == len(weights)  # the colour bars


@pytest.mark.parametrize(("name", "words"), [("Foraging", {"species 1", "species 2"}), ("RepeatedGame", {"species 2"})])
def test_a_film_tells_species_apart(name, words):
    task = make_task(name)
    state, _ = task.reset(task.agents_per_world, torch.Generator().manual_seed(0))
    figure = plots.Figure()
    task.draw_species(figure, state, 0, [], 2)
    texts = {text.get_text() for text in figure.axes[0].texts}
    texts |= {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    assert words <= texts
    alone = plots.Figure()
    task.draw(alone, state, 0, [])
    assert not any("species" in text.get_text() for legend in alone.legends for text in legend.get_texts())
