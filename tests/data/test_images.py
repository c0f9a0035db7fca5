"""Few-shot classification of images: which classes there are, what an episode shows, and users' own images."""

import pytest
import torch

from plastic_envs import UsageError, make_task
from plastic_envs.data import LabelledData, load_data
from tests.helpers.user_code import stripes

SPLITS = ("train", "validation", "test")


def episodes(n=4000, **options):
    task = make_task("FewShotImageClassification", **options)
    return task, task.sample(n, torch.Generator().manual_seed(0))


def classes(episode):
    """Each step's class: kind of image and number of quarter turns in one number."""
    return episode.hidden["kind"] * 4 + episode.hidden["turns"]


def test_test_classes_are_never_trained():
    kinds = [set(episodes(split=split)[1].hidden["kind"].unique().tolist()) for split in SPLITS]
    assert set().union(*kinds) == set(range(10))
    assert sum(map(len, kinds)) == 10


@pytest.mark.parametrize("split", SPLITS)
def test_only_asymmetric_digits_are_turned_around(split):
    _, episode = episodes(split=split)
    for kind in episode.hidden["kind"].unique().tolist():
        turns = set(episode.hidden["turns"][episode.hidden["kind"] == kind].tolist())
        assert turns == ({0, 1} if kind in (0, 1, 6, 8, 9) else {0, 1, 2, 3})


@pytest.mark.parametrize(
    "options", [{}, {"n_shot": 3}, {"n_query": 1}, {"n_way": 3, "split": "test"}, {"rotate": False}]
)
def test_an_episode_shows_each_class_as_specified(options):
    task, episode = episodes(**options)
    n_way, n_shot, n_query = task.n_way, task.n_shot, task.n_query
    support, query = classes(episode).split([n_way * n_shot, n_query])
    ordered = support.sort(0).values.view(n_way, n_shot, -1)
    assert (ordered == ordered[:, :1]).all()  # n_shot images of every class
    assert (ordered[1:, 0] != ordered[:-1, 0]).all()  # of n_way different ones
    assert (query.sort(0).values.diff(dim=0) > 0).all()  # one query a class at most
    same = classes(episode).unsqueeze(0) == classes(episode).unsqueeze(1)
    assert torch.equal(same, episode.targets.unsqueeze(0) == episode.targets.unsqueeze(1))  # a label for each class
    images = episode.hidden["sample"]
    assert (images.sort(0).values.diff(dim=0) > 0).all() or options.get("rotate", True)
    repeated = (images.unsqueeze(0) == images.unsqueeze(1)) & same
    assert (repeated.sum((0, 1)) == task.horizon).all()  # no image twice under one class
    label = episode.inputs[..., -n_way:]
    assert torch.equal(label[: n_way * n_shot].argmax(-1), episode.targets[: n_way * n_shot])
    assert (label.sum(-1)[: n_way * n_shot] == 1).all()
    assert torch.equal(episode.loss_mask[:, 0], torch.arange(task.horizon) >= n_way * n_shot)


def test_images_are_the_sources_turned():
    task, episode = episodes(n=50, split="test")
    data = load_data("digits")
    images = data.features.view(-1, 8, 8)
    pool = torch.cat([images[data.labels == kind] for kind in data.splits["test"]])
    for step in range(task.horizon):
        for b in range(50):
            kind, turns, sample = (episode.hidden[name][step, b].item() for name in ("kind", "turns", "sample"))
            image = episode.inputs[step, b, :64].view(8, 8)
            assert torch.equal(image, pool[sample].rot90(turns))
            assert (data.labels[(images == pool[sample]).all(2).all(1)] == kind).all()


def test_draws_are_fair():
    task, episode = episodes(n=20_000)
    counts = classes(episode)[:5].flatten().bincount()
    counts = counts[counts > 0]
    assert len(counts) == 16
    assert (counts / counts.sum() - 1 / 16).abs().max() < 0.003
    for step in range(task.horizon):
        assert (episode.targets[step].bincount(minlength=5) / 20_000 - 0.2).abs().max() < 0.015
    pairs = classes(episode)[0] * 5 + episode.targets[0]  # any class gets any label
    assert len(pairs.unique()) == 80


def test_rank_labels_follow_the_order_of_classes():
    _, episode = episodes(labels="rank", rotate=False)
    support, label = classes(episode)[:5], episode.targets[:5]
    by_label = support.gather(0, label.argsort(0))
    assert (by_label.diff(dim=0) > 0).all()


def test_held_out_is_the_test_split():
    task = make_task("FewShotImageClassification", n_shot=2)
    held_out = task.held_out()
    assert (task.split, held_out.split, held_out.n_shot) == ("train", "test", 2)
    direct = make_task("FewShotImageClassification", n_shot=2, split="test")
    first, second = (made.sample(3, torch.Generator().manual_seed(1)).inputs for made in (held_out, direct))
    assert torch.equal(first, second)
    predicted = held_out.references["nearest neighbour"](held_out.sample(5, torch.Generator().manual_seed(1)))
    assert predicted.shape == (15, 5, 5)


def test_nearest_neighbour_lies_between_chance_and_best():
    task, episode = episodes(split="test")
    accuracy = task.metric(task.references["nearest neighbour"](episode), episode).mean()
    assert 0.6 < accuracy < 0.95
    plain = torch.stack([
        (episode.inputs[5:, b, None, :64] - episode.inputs[None, :5, b, :64]).square().sum(-1).argmin(1)
        for b in range(200)
    ])  # fmt: skip
    labels = episode.targets[:5, :200].T.gather(1, plain)
    expected = (labels == episode.targets[5:, :200].T).float().mean(1)
    few = episode.map(lambda part: part[:, :200])
    assert torch.equal(task.metric(task.references["nearest neighbour"](few), few), expected)


def test_first_query_metric():
    task, episode = episodes(metric_steps="first")
    assert torch.equal(episode.metric_mask[:, 0], torch.arange(10) == 5)
    assert episode.loss_mask[:, 0].sum() == 5
    assert task.metric(task.zeros(episode), episode).mean().item() == pytest.approx(0.2, abs=0.03)


def test_binary_loss_is_binary_cross_entropy_on_the_softmax():
    task, episode = episodes(n=3, loss="binary")
    outputs = torch.randn(10, 3, 5, generator=torch.Generator().manual_seed(1))
    p = outputs.softmax(-1)
    wanted = torch.nn.functional.one_hot(episode.targets, 5)
    expected = -(wanted * p.log() + (1 - wanted) * (1 - p).log()).mean(-1)[5:].mean(0)
    assert torch.allclose(task.loss(outputs, episode), expected, atol=1e-6)


@pytest.mark.parametrize("source", ["tests.helpers.user_code:stripes", stripes, stripes(), LabelledData(*stripes())])
def test_users_images(source):
    task, episode = episodes(n=20, source=source, n_way=2, rotate=False, split="test")
    assert set(episode.hidden["kind"].unique().tolist()) == {8, 9}
    assert task.slices["image"].shape == (10, 10)
    nearest = task.references["nearest neighbour"](episode)
    assert task.metric(nearest, episode).mean() == 1.0
    lit = episode.inputs[..., :100].view(4, 20, 10, 10)
    assert torch.equal(lit.sum(-1).argmax(-1), episode.hidden["kind"])


def test_users_splits_are_kept():
    data = LabelledData(*stripes(), splits={"train": (9, 1), "validation": (2, 3), "test": (0, 4)})
    _, episode = episodes(n=50, source=data, n_way=2, rotate=False)
    assert set(episode.hidden["kind"].unique().tolist()) == {1, 9}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("nothing", "unknown data set 'nothing'"),
        (3, "gives a int, not images"),
        ((torch.zeros(3), torch.zeros(3)), r"must have the shape \(N, D\), or \(N, H, W\)"),
        ((torch.zeros(3, 4, 4), torch.zeros(2, dtype=torch.long)), "3 integers"),
        ((torch.zeros(3, 4, 4), torch.zeros(3)), "3 integers"),
        ((torch.full((3, 4, 4), 255.0), torch.arange(3)), r"lie in \[0, 1\]"),
        ((torch.full((3, 4, 4), float("nan")), torch.arange(3)), r"lie in \[0, 1\]"),
    ],
)
def test_bad_images_are_refused(given, words):
    with pytest.raises(UsageError, match=words):
        load_data(given)


def test_overlapping_splits_are_refused():
    with pytest.raises(UsageError, match="each to one"):
        LabelledData(*stripes(), splits={"train": (0, 1), "validation": (1,), "test": (2,)})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_way": 1}, "n_way"),
        ({"n_way": 9, "split": "test"}, "n_way=9 needs as many classes, the test split has 8"),
        ({"n_shot": 0}, "n_shot"),
        ({"n_shot": 500}, "n_shot=500 needs 501 images"),
        ({"n_query": 6}, "n_query must be an integer from 1 to 5"),
        ({"split": "all"}, "split must be one of train, validation, test"),
        ({"rotate": "yes"}, "rotate must be true or false"),
        ({"labels": "sorted"}, "labels"),
        ({"loss": "hinge"}, "loss"),
        ({"metric_steps": "last"}, "metric_steps"),
        ({"source": (torch.zeros(30, 2, 3), torch.arange(10).repeat(3))}, "rotate must be false"),
        ({"source": (torch.zeros(30, 6), torch.arange(10).repeat(3))}, "source must be one of images"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(UsageError, match=words):
        make_task("FewShotImageClassification", **options)


def test_too_large_batches_are_refused_before_they_are_drawn():
    task = make_task("FewShotImageClassification", n_shot=10)
    with pytest.raises(
        UsageError, match=r"n_way=5 and n_shot=10 in 1000000000 episodes .* more memory than this machine has"
    ):
        task.sample(10**9, torch.Generator())
