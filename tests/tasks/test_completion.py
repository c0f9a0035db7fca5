"""Completion of patterns and images: what is shown when, what is missing, and what predictors are worth."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from plastic_envs import TaskEnv, UsageError, make_task
from plastic_envs.rendering.completion import UNUSED


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def patterns():
    return make_task("PatternCompletion,n_bits=40,n_patterns=3,bias=true")


def test_paper_sizes():
    assert make_task("PatternCompletion").horizon == 106
    assert make_task("ImageCompletion").horizon == 201
    assert make_task("SmallPatternCompletion").horizon == 11
    assert make_task("SmallPatternCompletion").output_size == 50


def test_each_pattern_is_shown_once_a_round_and_half_of_one_is_asked_with(patterns):
    episode = patterns.sample(5, generator())
    inputs, hidden = episode.inputs / 20, episode.hidden
    assert (inputs[..., 40] == 1).all()
    items = hidden["items"][0].view(5, 3, 40)
    assert (items.abs() == 1).all()
    assert not items.sum(-1).any()  # as many −1 as +1
    for b in range(5):
        for round_ in range(2):
            shown = set()
            for place in range(3):
                start = 10 * (3 * round_ + place)
                step = inputs[start : start + 10, b, :40]
                assert (step[:6] == step[0]).all()
                assert not step[6:].any()
                shown.add(int((items[b] == step[0]).all(-1).nonzero()))
            assert shown == {0, 1, 2}
        asked = items[b, hidden["asked"][0, b]]
        query = inputs[-6:, b, :40]
        assert (query == query[0]).all()
        assert (query[0] == 0).sum() == 20
        assert torch.equal(query[0] == 0, hidden["missing"][0, b])
        assert torch.equal(query[0].where(query[0] != 0, asked), asked)
        assert torch.equal(episode.targets[-1, b], asked)


def test_orders_and_halves_differ_between_episodes(patterns):
    episode = patterns.sample(200, generator())
    assert 50 < int((episode.hidden["asked"][0] == 0).sum()) < 90
    first = episode.inputs[0, :, :40] / 20 == episode.hidden["items"][0].view(200, 3, 40)[:, 0]
    assert 40 < int(first.all(-1).sum()) < 95


def test_error_rate_counts_wrong_signs_and_half_of_zeros(patterns):
    targets = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    action = torch.tensor([[0.1, 5.0, 0.0, -2.0]])
    assert patterns.step_metric(action, targets, targets).item() == pytest.approx((0 + 1 + 0.5 + 0) / 4)
    assert not patterns.higher_is_better


def test_loss_is_the_sum_and_reward_the_mean_of_the_last_step(patterns):
    episode = patterns.sample(3, generator())
    outputs = torch.randn(patterns.horizon, 3, 40, generator=generator(1))
    error = (outputs[-1] - episode.targets[-1]).square()
    torch.testing.assert_close(patterns.loss(outputs, episode), error.sum(-1))
    env = TaskEnv(patterns)
    env.reset(seed=0)
    rewards = [env.step(np.zeros(40, np.float32))[1] for _ in range(patterns.horizon)]
    assert rewards[:-1] == [0] * (patterns.horizon - 1)
    assert rewards[-1] == -1


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("PatternCompletion,n_bits=100", {"zeros": 0.5, "copying what is shown": 0.25}),
        ("ImageCompletion", {"nearest image shown": 0.0}),
    ],
)
def test_reference_predictors(spec, expected):
    task = make_task(spec).held_out()
    episode = task.sample(100, generator())
    for name, value in expected.items():
        assert task.metric(task.references[name](episode), episode).mean() == pytest.approx(value, abs=1e-6)
    assert not task.metric(task.oracle(episode), episode).any()


def test_the_mean_of_the_patterns_is_wrong_where_most_of_them_differ():
    task = make_task("PatternCompletion,n_bits=2000,n_patterns=3")
    episode = task.sample(20, generator())
    # of three patterns the two others agree against the asked one in a quarter of the bits, of which half are missing
    assert task.metric(task.mean(episode), episode).mean() == pytest.approx(1 / 8, abs=0.01)


def test_images_are_centred_scaled_and_of_different_photographs():
    task = make_task("ImageCompletion")
    episode = task.sample(20, generator())
    images = episode.hidden["items"][0].view(20, 3, 1024)
    assert images.mean(-1).abs().max() < 1e-4  # rounding of a mean of some 200, divided by a small contrast
    torch.testing.assert_close(images.abs().amax(-1), torch.ones(20, 3))
    missing = episode.hidden["missing"][0]
    assert (missing[:, :512].all(-1) ^ missing[:, 512:].all(-1)).all()
    assert 0 < int(missing[:, 0].sum()) < 20
    assert not set(task._rows.tolist()) & set(task.held_out()._rows.tolist())
    metric = task.metric(task.mean(episode), episode)
    error = (images.mean(1) - episode.targets[-1]).square()
    torch.testing.assert_close(metric, (error * missing).sum(-1) / 512)


def test_colours_are_averaged_and_any_source_will_do():
    pictures = torch.rand(30, 3, 6, 4)
    task = make_task("ImageCompletion", source=(pictures, torch.zeros(30, dtype=torch.long)), n_images=2)
    images = task.sample(4, generator()).hidden["items"][0].view(-1, 24)
    grey = pictures.mean(1).flatten(1)
    grey = grey - grey.mean(1, keepdim=True)
    grey = grey / grey.abs().amax(1, keepdim=True)
    assert all(torch.isclose(image, grey, atol=1e-5).all(-1).any() for image in images)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("PatternCompletion,n_bits=7", "n_bits must be even"),
        ("PatternCompletion,n_patterns=0", "n_patterns must be an integer of at least 1"),
        ("PatternCompletion,gain=0", "gain must be"),
        ("ImageCompletion,source=halfspace", "source must be one of images"),
        ("ImageCompletion,n_images=5000", "needs as many images"),
    ],
)
def test_bad_input_is_one_sentence(spec, sentence):
    with pytest.raises(UsageError, match=sentence):
        make_task(spec)


def test_too_many_episodes_at_once_are_refused():
    with pytest.raises(UsageError, match="take fewer at once"):
        make_task("PatternCompletion").sample(10_000_000, generator())


@pytest.mark.parametrize(("n_bits", "rows", "unused"), [(50, 7, 6), (36, 6, 0)])
def test_cells_that_a_pattern_does_not_fill_have_a_colour_of_their_own(n_bits, rows, unused):
    task = make_task(f"SmallPatternCompletion,n_bits={n_bits}")
    state, _ = task.reset(1, generator())
    figure = Figure()
    task.draw(figure, state, 0, ())
    image = next(axes.images[0] for axes in figure.axes if axes.get_title() == "shown now")
    drawn = image.get_array()  # masked where there is no bit
    assert drawn.shape[0] == rows
    colours = image.to_rgba(drawn)[..., :3].reshape(-1, 3)
    bits = (state.episode.inputs[0, 0, :n_bits] / task.gain).numpy()
    assert np.array_equal(colours[:n_bits], np.repeat((bits[:, None] + 1) / 2, 3, 1))
    assert np.allclose(colours[n_bits:], to_rgb(UNUSED))
    assert len(colours) - n_bits == unused
    assert len(set(to_rgb(UNUSED))) > 1  # no grey
