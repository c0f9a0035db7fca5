"""Online classification: which examples an episode shows and asks for, its reference predictors, and its errors."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from plastic_envs import TaskEnv, UsageError, make_task
from plastic_envs.core.draws import draw_distinct, shuffle
from plastic_envs.data import load_data
from tests.helpers.user_code import stripes


def episodes(n=200, held_out=False, **options):
    task = make_task("OnlineClassification", **options)
    task = task.held_out() if held_out else task
    return task, task.sample(n, torch.Generator().manual_seed(0))


def rows(task, episode):
    """Which examples are shown in each pass (passes, n_train, B), and asked for (n_query, B)."""
    shown, asked = episode.hidden["example"].split([task.first_query, task.n_query])
    return shown.unflatten(0, (task.passes, task.n_train)), asked


def distinct(values):
    return bool((values.sort(0).values.diff(dim=0) > 0).all())


OPTIONS = [
    {},
    {"n_train": 7, "n_query": 3, "passes": 3},
    {"n_train": 340, "n_query": 300},
    {"n_way": 5, "n_train": 20, "n_query": 10, "passes": 2},
    {"n_way": 10, "n_train": 10, "n_query": 10},
    {"source": "relu1", "n_train": 50, "n_query": 20},
    {"source": "relu1", "inputs": "uniform", "n_way": 2, "n_train": 50, "n_query": 20},
]
every_option = pytest.mark.parametrize("options", OPTIONS)


@every_option
@pytest.mark.parametrize("query", ["fresh", "support"])
@pytest.mark.parametrize("held_out", [False, True])
def test_what_is_shown_and_what_is_asked(options, query, held_out):
    task, episode = episodes(query=query, held_out=held_out, **options)
    shown, asked = rows(task, episode)
    is_test = task.data.test
    assert (is_test[shown] == (held_out and query == "support")).all()
    assert (is_test[asked] == held_out).all()
    assert distinct(shown[0])
    assert distinct(asked)
    for again in shown[1:]:  # the same ones in another order
        assert torch.equal(again.sort(0).values, shown[0].sort(0).values)
        assert not torch.equal(again, shown[0])
    both = torch.cat([shown[0], asked])
    if query == "fresh":
        assert distinct(both)
    else:
        assert all(set(asked[:, b].tolist()) <= set(shown[0, :, b].tolist()) for b in range(20))


@every_option
def test_observations_are_the_examples(options):
    task, episode = episodes(n=30, **options)
    example = episode.hidden["example"]
    features, label, flag = episode.inputs.split([task.data.features.shape[1], task.output_size, 1], -1)
    assert torch.equal(features, task.data.features[example])
    assert torch.equal(episode.targets, task.data.labels[example])
    is_query = torch.arange(task.horizon) >= task.first_query
    one_hot = torch.nn.functional.one_hot(episode.targets, task.output_size) * ~is_query.view(-1, 1, 1)
    assert torch.equal(label, one_hot.float())
    assert torch.equal(flag, is_query.float().view(-1, 1, 1).expand_as(flag))
    assert torch.equal(episode.loss_mask, is_query.unsqueeze(1).expand(-1, 30))
    assert torch.equal(episode.metric_mask, episode.loss_mask)
    assert task.horizon == task.n_train * task.passes + task.n_query


@pytest.mark.parametrize("query", ["fresh", "support"])
@pytest.mark.parametrize("held_out", [False, True])
def test_n_way_episodes_are_balanced(query, held_out):
    task, episode = episodes(n=2000, n_way=5, n_train=20, n_query=10, query=query, held_out=held_out)
    shown, asked = (
        torch.nn.functional.one_hot(part, 10).sum(0) for part in episode.targets.split([task.n_train, task.n_query])
    )
    assert ((shown == 4) | (shown == 0)).all()
    assert torch.equal(shown, 2 * asked)
    assert ((shown > 0).float().mean(0) - 0.5).abs().max() < 0.05  # every class as often as another
    assert (episode.targets[0].bincount(minlength=10) / 2000 - 0.1).abs().max() < 0.03  # in random order
    assert (episode.targets[task.n_train].bincount(minlength=10) / 2000 - 0.1).abs().max() < 0.03
    for first, others in ((0, 3 / 19), (task.n_train, 1 / 9)):  # the share of others that are of the same class
        assert (episode.targets[first] == episode.targets[first + 5]).float().mean().item() == pytest.approx(
            others, abs=0.04
        )


def test_every_example_is_shown_as_often():
    task, episode = episodes(n=3000, n_train=100, n_query=50)
    counts = episode.hidden["example"].flatten().bincount(minlength=1797)
    assert (counts[task.data.test] == 0).all()
    expected = 3000 * 150 / 1438
    deviation = (counts[~task.data.test] - expected) / (expected * (1 - 150 / 1438)) ** 0.5
    assert deviation.abs().max() < 5
    assert deviation.square().mean().item() == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize(("counts", "n"), [([5, 9], 5), ([6, 40], 3), ([4, 4], 1)])
def test_distinct_draws_are_fair(counts, n, generator):
    """Both ways of drawing, at every place, and jointly for two places."""
    drawn = draw_distinct(torch.tensor(counts).repeat(20_000, 1), n, generator)  # (n, 20,000, 2)
    assert drawn.shape == (n, 20_000, 2)
    assert distinct(drawn)
    for column, count in enumerate(counts):
        for place in drawn[..., column]:
            assert (place.bincount(minlength=count) / 20_000 - 1 / count).abs().max() < 0.02
        if n > 1:
            pairs = (drawn[0, :, column] * count + drawn[-1, :, column]).bincount(minlength=count**2)
            pairs = pairs.view(count, count) / 20_000
            assert (pairs - (1 - torch.eye(count)) / (count * (count - 1))).abs().max() < 0.015


def test_shuffling_permutes_each_column(generator):
    values = torch.arange(4).unsqueeze(1).expand(-1, 10_000) * 10
    mixed = shuffle(values, generator)
    assert torch.equal(mixed.sort(0).values, values)
    assert all((row.bincount(minlength=31)[::10] / 10_000 - 0.25).abs().max() < 0.03 for row in mixed)


def test_whole_training_part_then_test_part():
    """As Cristian et al. evaluate: all 10,000 points are shown; only the held-out task has fresh ones to ask for."""
    task = make_task("OnlineClassification", source="halfspace", n_train=10_000, n_query=10_000)
    episode = task.held_out().sample(1, torch.Generator().manual_seed(0))
    assert sorted(episode.hidden["example"][:, 0].tolist()) == list(range(20_000))
    with pytest.raises(UsageError, match="n_train=10000 and n_query=10000 without replacement is more than"):
        task.sample(1, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("n_train", [40, 150])  # fewer and more examples than pixels: both forms of the ridge
def test_references_are_what_they_say(n_train):
    task, episode = episodes(n=5, n_train=n_train, n_query=30, passes=2, held_out=True)
    answers = {name: predict(episode)[task.first_query :] for name, predict in task.references.items()}
    for b in range(5):
        x, labels = episode.inputs[:, b, :64].double().numpy(), episode.targets[:, b].numpy()
        shown, asked = (x[:n_train], labels[:n_train]), x[task.first_query :]
        counts = np.bincount(shown[1], minlength=10)
        assert (counts[answers["majority class"][:, b].argmax(-1)] == counts.max()).all()
        classes = np.unique(shown[1])
        means = np.stack([shown[0][shown[1] == label].mean(0) for label in classes])
        nearest = classes[((asked[:, None] - means) ** 2).sum(-1).argmin(1)]
        assert (nearest == answers["nearest class mean"][:, b].argmax(-1).numpy()).all()
        with_bias = [np.hstack([part, np.ones((len(part), 1))]) for part in (shown[0], asked)]
        ridge = Ridge(alpha=10, fit_intercept=False).fit(with_bias[0], np.eye(10)[shown[1]])
        assert np.allclose(ridge.predict(with_bias[1]), answers["ridge"][:, b], atol=1e-3)


def test_classes_that_are_not_shown_are_never_the_nearest():
    features = torch.rand(300, 2, generator=torch.Generator().manual_seed(0)) * 20 + 1
    task, episode = episodes(source=(features, torch.arange(300) % 3), n_way=2, n_train=10, n_query=10)
    answers = task.nearest_class_mean(episode).argmax(-1)[task.first_query :]
    assert (answers.unsqueeze(0) == episode.targets[:10].unsqueeze(1)).any(0).all()


def test_references_lie_between_chance_and_best():
    for options in ({}, {"n_way": 5, "n_train": 50, "n_query": 50}, {"source": "halfspace"}):
        task, episode = episodes(held_out=True, **options)
        accuracy = {name: task.metric(predict(episode), episode).mean() for name, predict in task.references.items()}
        assert accuracy["majority class"] < 0.6
        assert 0.8 < accuracy["nearest class mean"] < 1
        assert 0.8 < accuracy["ridge"] < 1


def test_the_majority_class_is_what_an_unbalanced_source_gives_away():
    task, episode = episodes(source="rnn", n_train=200, held_out=True)
    share = task.data.labels[task.data.test].bincount().max() / 10_000
    assert task.metric(task.majority_class(episode), episode).mean().item() == pytest.approx(share.item(), abs=0.02)


def test_users_data():
    task, episode = episodes(n=20, source="tests.helpers.user_code:stripes", n_way=2, n_train=4, n_query=2)
    assert task.slices["image"].shape == (10, 10)
    assert task.metric(task.nearest_class_mean(episode), episode).mean() == 1.0
    features = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    task, _ = episodes(n=4, source=(features, torch.arange(60) % 4), n_train=20, n_query=10)
    assert task.slices["features"].shape == (3,)
    assert task.observation_space.high.max() >= features.abs().max()


def test_the_picture_of_a_long_episode_shows_the_image_of_its_step():
    pytest.importorskip("matplotlib")
    images, labels = stripes()
    task = make_task("OnlineClassification", source=(images.repeat(20, 1, 1), labels.repeat(20)))
    env = TaskEnv(task, render_mode="rgb_array")
    env.reset(seed=0)
    episode = task.sample(1, torch.Generator().manual_seed(0))
    for step in range(3):
        strip = env.render()[37:131, 87:581]  # within the frame of the first part
        dark = np.flatnonzero((strip < 60).all(-1).any(1))
        assert dark.mean() / 10 == pytest.approx(episode.targets[step, 0].item() + 0.2, abs=0.3)
        env.step(0)
    assert task.horizon == 200


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_train": 0}, "n_train must be an integer of at least 1"),
        ({"n_train": 2000}, "n_train=2000 without replacement is more than the training part has: 1,438 examples"),
        ({"n_query": 360}, "n_query=360 without replacement is more than the test part has: 359 examples"),
        ({"n_way": 5, "n_train": 1000}, "n_train=1000 .* training part has: 1.. examples of some class, for n_way=5"),
        ({"n_train": 360, "query": "support"}, "n_train=360 without replacement is more than the test part"),
        ({"n_query": 101, "query": "support"}, "n_query must be an integer from 1 to 100, not 101"),
        ({"n_way": 3}, "n_train must be a multiple of n_way=3, not 100"),
        ({"n_way": 5, "n_query": 7}, "n_query must be a multiple of n_way=5, not 7"),
        ({"n_way": 11}, "n_way must be an integer from 2 to 10"),
        ({"passes": 0}, "passes"),
        ({"query": "new"}, "query must be one of fresh, support"),
        ({"inputs": "gaussian"}, "inputs must be one of normal, uniform"),
        ({"inputs": "uniform"}, "inputs"),
        ({"source": "digit"}, "did you mean 'digits'"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(UsageError, match=words):
        make_task("OnlineClassification", **options)


def test_too_large_batches_are_refused_before_they_are_drawn():
    task = make_task("OnlineClassification", source=load_data("halfspace"), n_train=9000, passes=1000)
    with pytest.raises(UsageError, match=r"n_train=9000 .* more memory than this machine has: take a smaller n_train"):
        task.sample(10_000, torch.Generator())
