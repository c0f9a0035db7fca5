"""Labels with gaps, and what users give as numbers: right numbers, or one sentence that says what is wrong."""

import dataclasses

import numpy as np
import pytest
import torch

from plastic_envs import UsageError, make_task
from plastic_envs.data import LabelledData, load_data

FEATURES = np.random.default_rng(0).random((6, 3))
IMAGES = np.random.default_rng(0).random((6, 4, 4))
LABELS = [1, 2, 1, 2, 1, 2]


@pytest.mark.parametrize("labels", [(1, 2), (0, 7), (5, 6), (3, 2**62), (False, True)])
def test_classes_are_the_labels_that_are_there(labels):
    draw = torch.Generator().manual_seed(0)
    given = torch.tensor(labels).repeat(100)
    task = make_task(
        "OnlineClassification", source=(torch.randn(200, 3, generator=draw), given), n_train=20, n_query=10
    )
    assert (task.output_size, task.chance, task.action_space.n) == (2, 1 / 2, 2)
    assert task.slices["label"].shape == (2,)
    assert task.data.classes == labels
    for part in (task, task.held_out()):
        episode = part.sample(50, draw)
        assert torch.equal(given[episode.hidden["example"]] == labels[1], episode.targets == 1)


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", ">i4", ">u2"]
)
def test_labels_of_any_type_of_integers(dtype):
    given = np.array(LABELS).astype(dtype)
    made = [LabelledData(FEATURES, given)]
    made += [LabelledData(FEATURES, torch.from_numpy(given))] if dtype.isalnum() else []
    for data in made:
        assert (data.n_classes, data.classes, data.labels.tolist()) == (2, (1, 2), [0, 1, 0, 1, 0, 1])


def test_classes_of_one_part_alone():
    data = load_data((FEATURES, LABELS, FEATURES[:2], [9, 1]))
    assert data.classes == (1, 2, 9)
    assert data.labels[data.rows("test")].tolist() == [2, 0]


def test_splits_and_half_turned_classes_are_given_as_labels_are():
    splits = {"train": (70, 9), "validation": (), "test": (40, 55)}
    labels = torch.tensor([9, 40, 55, 70]).repeat_interleave(5)
    data = LabelledData(torch.rand(20, 4, 4), labels, splits=splits, half_turned=[70, 1000])
    assert data.splits == {"train": (3, 0), "validation": (), "test": (1, 2)}
    assert data.half_turned == (3,)
    again = dataclasses.replace(data, half_turned=())
    assert (again.splits, again.n_classes) == (data.splits, 4)
    task = make_task("FewShotImageClassification", source=data, n_way=2, rotate=False)
    for part, kinds in ((task, {9, 70}), (task.held_out(), {40, 55})):
        episode = part.sample(20, torch.Generator().manual_seed(0))
        assert {data.classes[kind] for kind in episode.hidden["kind"].unique()} == kinds
    with pytest.raises(UsageError, match="n_way=2 needs as many classes, the validation split has 0"):
        make_task("FewShotImageClassification", source=data, n_way=2, split="validation")


def test_one_class_is_nothing_to_tell_apart():
    with pytest.raises(UsageError, match="source must have at least two classes"):
        make_task("OnlineClassification", source=(FEATURES, [4] * 6), n_train=1, n_query=1)


class Subclass(np.ndarray):
    """Somebody's own arrays."""


@pytest.mark.parametrize(
    "form",
    [
        lambda x: x.tolist(),
        lambda x: [torch.tensor(row) for row in x],
        lambda x: torch.tensor(x, requires_grad=True),
        lambda x: torch.tensor(x).to_sparse(),
        lambda x: x.view(Subclass),
        lambda x: np.ma.array(x),
        lambda x: x.astype(">f8"),
        lambda x: x[::-1].copy()[::-1],
        lambda x: np.asfortranarray(x),
        lambda x: np.frombuffer(x.tobytes()).reshape(x.shape),
    ],
)
@pytest.mark.parametrize("values", [FEATURES, IMAGES])
def test_numbers_in_any_form(form, values):
    data = LabelledData(form(values), LABELS)
    assert torch.equal(data.features, torch.tensor(values.reshape(6, -1), dtype=torch.float32))
    assert not data.features.requires_grad


@pytest.mark.parametrize("default", [torch.float64, torch.float16])
def test_the_default_type_changes_nothing(default):
    torch.set_default_dtype(default)
    try:
        data = LabelledData(FEATURES.tolist(), LABELS)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(data.features, torch.tensor(FEATURES, dtype=torch.float32))


def test_a_function_may_give_lists(monkeypatch):
    assert load_data(lambda: [IMAGES, LABELS]).image_shape == (4, 4)
    assert load_data(lambda: [FEATURES, LABELS, FEATURES, LABELS]).test.sum() == 6


@pytest.mark.parametrize(
    ("features", "labels", "words"),
    [
        (FEATURES, np.array(LABELS, float), "6 integers from 0, one per example, not torch.float64"),
        (FEATURES, list("ababab"), r"labels must be real numbers, not <U1 \(6,\); numpy.unique"),
        (FEATURES, np.array(LABELS, object), "labels must be real numbers, not object"),
        (FEATURES, [-1, 1, 1, 2, 2, 2], "integers from 0, one per example, not one that is -1"),
        (FEATURES, np.array(LABELS)[:, None], r"one per example, not torch.int64 \(6, 1\)"),
        (FEATURES, LABELS[:5], r"labels must be 6 integers from 0, one per example, not torch.int64 \(5,\)"),
        (FEATURES, 3, "labels must be 6 integers"),
        (FEATURES, None, "labels must be real numbers, not object"),
        (FEATURES, np.ma.masked_equal(LABELS, 1), "labels must be numbers, and some of them are masked"),
        (np.ma.masked_greater(FEATURES, 0.5), LABELS, "features must be numbers, and some of them are masked"),
        (FEATURES.astype(object), LABELS, "features must be real numbers, not object"),
        (FEATURES.astype(complex), LABELS, "features must be real numbers, not complex128"),
        (torch.zeros(6, 3, dtype=torch.complex64), LABELS, "features must be real numbers, not torch.complex64"),
        (torch.empty(6, 3, device="meta"), LABELS, "features cannot be read as numbers: Cannot copy out of meta"),
        ([[1, 2], [3]], [0, 1], "features cannot be read as numbers: .*inhomogeneous"),
        (FEATURES * 1e300, LABELS, "features must be finite"),
        (np.where(FEATURES > 0.5, np.nan, FEATURES), LABELS, "features must be finite"),
        ({"a": 1}, LABELS, "features must be real numbers, not object"),
        (np.zeros((0, 3)), [], "features must have the shape"),
        (np.where(IMAGES > 0.5, np.inf, IMAGES), LABELS, r"images must lie in \[0, 1\]"),
        ((IMAGES * 255).astype(int), LABELS, r"not in \[.*\]: what goes from 0 to 255 is given as bytes \(uint8\)"),
        (IMAGES * 2 - 1, LABELS, r"images must lie in \[0, 1\], not in \[-0.99"),
        (np.zeros((6, 8, 8, 3)), LABELS, r"\(N, C, H, W\), colours first, not \(6, 8, 8, 3\)"),
        (np.zeros((6, 1, 3, 8, 8)), LABELS, "features must have the shape"),
        (np.zeros((6, 0, 4)), LABELS, "features must have the shape"),
    ],
)
def test_what_is_no_data_is_refused_in_a_sentence(features, labels, words):
    with pytest.raises(UsageError, match=words) as refused:
        load_data((features, labels))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (IMAGES, "source 'ndarray' gives a ndarray, not images"),
        ({"images": IMAGES, "labels": LABELS}, "source 'dict' gives a dict"),
        ((IMAGES, LABELS, IMAGES), "source 'tuple' gives 3 things"),
        (lambda: IMAGES, "source '<lambda>' gives a ndarray"),
        (lambda where: IMAGES, "source '<lambda>': missing a required argument: 'where'"),
        (iter([IMAGES, LABELS]), "source 'list_iterator' gives a list_iterator"),
        (None, "source 'NoneType' gives a NoneType"),
    ],
)
def test_a_source_is_named_without_its_numbers(source, words):
    with pytest.raises(UsageError, match=words) as refused:
        load_data(source)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("test_features", "test_labels", "words"),
    [
        (FEATURES[:2], [1, 2, 1], "labels must be 2 integers"),
        (FEATURES[:2], ["a", "b"], "test labels must be real numbers"),
        ([], [], r"one shape, not \[\(6, 3\), \(0,\)\]"),
        (np.zeros((2, 3), complex), [1, 2], "test features must be real numbers"),
    ],
)
def test_parts_that_do_not_fit(test_features, test_labels, words):
    with pytest.raises(UsageError, match=words):
        load_data((FEATURES, LABELS, test_features, test_labels))
    with pytest.raises(UsageError, match="labels must be 6 integers"):  # though the sum is right
        load_data((FEATURES, LABELS[:5], FEATURES[:2], [1, 2, 1]))


def test_a_number_of_classes_that_the_labels_do_not_have():
    with pytest.raises(UsageError, match="n_classes must be 2, the number of distinct labels, not 3"):
        LabelledData(FEATURES, LABELS, n_classes=3)
