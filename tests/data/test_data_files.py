"""Labelled data: the files of MNIST and its successors, the synthetic sources, and what is refused in one sentence."""

import gzip
import hashlib
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from plastic_envs import UsageError, make_task
from plastic_envs.data import DATA, LabelledData, load_data

MNIST_FILES = [
    "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"
]  # fmt: skip


def idx(values):
    """Bytes in idx format, as the format's description has them."""
    values = np.asarray(values, np.uint8)
    return bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes() + values.tobytes()


def write(folder, names, n_train=30, n_test=20, n_classes=10, first_label=0, compress=True):
    """Four files of random images 4×6; returns what they hold."""
    draw = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    held = []
    for n in (n_train, n_test):
        held += [draw.integers(0, 256, (n, 4, 6)), np.arange(n) % n_classes + first_label]
    for name, values in zip(names, held, strict=True):
        content = idx(values)
        (folder / (name if compress else name[:-3])).write_bytes(gzip.compress(content) if compress else content)
    return held


@pytest.fixture(autouse=True)
def _no_network(monkeypatch, tmp_path):
    """Nothing is looked for elsewhere than in the test's own folder, and nothing is downloaded."""
    pooch = pytest.importorskip("pooch")

    def refuse(url, *_, **__):
        raise OSError(f"no network to {url}")

    monkeypatch.setattr(pooch, "retrieve", refuse)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("subfolder", ["mnist", "."])
def test_files_are_found_in_the_folder_or_its_subfolder(tmp_path, monkeypatch, compress, subfolder):
    images, labels, test_images, test_labels = write(tmp_path / subfolder, MNIST_FILES, compress=compress)
    monkeypatch.setenv("PLASTIC_ENVS_DATA", str(tmp_path))
    data = load_data("mnist")
    assert data.image_shape == (4, 6)
    assert data.n_classes == 10
    for rows, pixels, wanted in ((data.rows("train"), images, labels), (data.rows("test"), test_images, test_labels)):
        assert torch.equal(data.features[rows], torch.tensor(pixels / 255, dtype=torch.float32).flatten(1))
        assert data.labels[rows].tolist() == wanted.tolist()
    monkeypatch.delenv("PLASTIC_ENVS_DATA")
    assert torch.equal(load_data("mnist", folder=tmp_path).features, data.features)


def emnist_files(variant):
    return [
        f"emnist-{variant}-{part}-{kind}-ubyte.gz"
        for part in ("train", "test")
        for kind in ("images-idx3", "labels-idx1")
    ]


@pytest.mark.parametrize(
    ("variant", "n_classes", "first"), [("balanced", 47, 0), ("byclass", 62, 0), ("letters", 26, 1), ("digits", 10, 0)]
)
def test_emnist_is_turned_upright_and_labelled_from_0(tmp_path, variant, n_classes, first):
    held = write(tmp_path, emnist_files(variant), n_train=150, n_test=70, n_classes=n_classes, first_label=first)
    data = load_data(f"emnist-{variant}", folder=tmp_path)
    assert (data.n_classes, data.image_shape) == (n_classes, (6, 4))
    upright = held[0][3].T / 255
    assert np.allclose(data.features[3].view(6, 4), upright)
    assert data.labels.min() == 0
    assert data.labels.max() == n_classes - 1
    assert data.test.sum() == 70


def test_rosenbaums_episode_on_files_of_emnist(tmp_path):
    write(tmp_path, emnist_files("balanced"), n_train=47 * 60, n_test=47 * 10, n_classes=47)
    data = load_data("emnist-balanced", folder=tmp_path)
    task = make_task("OnlineClassification", source=data, n_way=5, n_train=250, n_query=50)
    episode = task.held_out().sample(8, torch.Generator().manual_seed(0))
    assert task.horizon == 300
    assert task.action_space.n == 47
    assert (torch.nn.functional.one_hot(episode.targets[:250], 47).sum(0).sort(-1).values[:, -5:] == 50).all()


def test_a_missing_file_is_named_with_its_place(tmp_path, monkeypatch):
    monkeypatch.delenv("PLASTIC_ENVS_DATA", raising=False)
    with pytest.raises(
        UsageError, match=r"needs the file train-images-idx3-ubyte.gz: set PLASTIC_ENVS_DATA to a folder"
    ):
        load_data("mnist")
    with pytest.raises(UsageError, match=f"emnist-balanced-train-images.*put it into {tmp_path}/emnist-balanced"):
        load_data("emnist-balanced", folder=tmp_path)
    write(tmp_path, MNIST_FILES)
    (tmp_path / MNIST_FILES[3]).unlink()
    with pytest.raises(UsageError, match=r"t10k-labels-idx1-ubyte\.gz"):
        load_data("fashion-mnist", folder=tmp_path)
    monkeypatch.setenv("PLASTIC_ENVS_DATA", "/nowhere")
    with pytest.raises(UsageError, match="PLASTIC_ENVS_DATA must be a folder, not '/nowhere'"):
        load_data("mnist")
    with pytest.raises(UsageError, match="folder must be a folder"):
        load_data("mnist", folder="/nowhere/either")
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(UsageError, match=r"put it into .*plastic-envs\[download\]"):
        load_data("emnist-letters", folder=tmp_path)


def test_fetched_files_are_read_from_the_cache(tmp_path, monkeypatch):
    """With a stand-in for pooch's download: files one by one, and members of EMNIST's archive."""
    import pooch

    cache = tmp_path / "cache" / "plastic-envs"
    held = write(tmp_path / "web", MNIST_FILES)
    write(tmp_path / "web" / "gzip", emnist_files("mnist"))
    archive = tmp_path / "web" / "gzip.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for name in emnist_files("mnist"):
            zipped.write(tmp_path / "web" / "gzip" / name, f"gzip/{name}")
    asked = []

    def retrieve(url, known_hash, fname, path, processor=None, progressbar=False):
        asked.append((url, known_hash))
        path.mkdir(parents=True, exist_ok=True)
        (path / fname).write_bytes((tmp_path / "web" / fname).read_bytes())
        return processor(str(path / fname), "download", None) if processor else str(path / fname)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    monkeypatch.delenv("PLASTIC_ENVS_DATA", raising=False)
    assert load_data("mnist").labels.tolist() == [*held[1], *held[3]]
    assert asked[0][0].endswith("/mnist/train-images-idx3-ubyte.gz")
    assert all(known_hash.startswith("md5:") and len(known_hash) == 36 for _, known_hash in asked)
    assert load_data("emnist-mnist").image_shape == (6, 4)
    assert asked[-1][1].startswith("sha256:")
    assert (cache / "mnist" / MNIST_FILES[0]).is_file()
    assert (cache / "emnist-mnist" / "gzip" / emnist_files("mnist")[0]).is_file()


def damage_cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def damage_text(path):
    path.write_bytes(gzip.compress(b"no idx file"))


def damage_checksum(path):
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(bytes(content))


def damage_empty(path):
    path.write_bytes(b"")


def damage_longer(path):
    path.write_bytes(gzip.decompress(path.read_bytes()) + b"123")


def damage_shorter(path):
    path.write_bytes(gzip.decompress(path.read_bytes())[:-3])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_cut, "cut short"),
        (damage_checksum, "cannot be read"),
        (damage_text, "must begin with"),
        (damage_empty, "must begin with"),
        (damage_longer, "must hold"),
        (damage_shorter, "must hold"),
    ],
)
@pytest.mark.parametrize("name", MNIST_FILES)
def test_damaged_files_are_named(tmp_path, name, damage, words):
    write(tmp_path, MNIST_FILES)
    damage(tmp_path / name)
    with pytest.raises(UsageError, match=words) as refused:
        load_data("mnist", folder=tmp_path)
    assert str(tmp_path / name) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("replaced", "values", "words"),
    [
        (1, np.zeros(29), "holds 30 images, but .* 29 labels"),
        (1, np.full(30, 10), r"train-labels.* must hold labels from 0 to 9, not 10"),
        (3, np.full(20, 255), r"t10k-labels.* must hold labels from 0 to 9, not 255"),
        (2, np.zeros((20, 5, 6)), r"images of one shape, not \(4, 6\) and \(5, 6\)"),
        (1, np.zeros((30, 4, 6)), "is no idx file of labels: it must begin with 00000801, not '00000803'"),
        (0, np.zeros(30), "is no idx file of images"),
        (0, np.zeros((0, 4, 6)), "holds 0 images"),
        (0, np.zeros((30, 0, 6)), "holds no images"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, replaced, values, words):
    write(tmp_path, MNIST_FILES)
    (tmp_path / MNIST_FILES[replaced]).write_bytes(idx(values))
    with pytest.raises(UsageError, match=words):
        load_data("mnist", folder=tmp_path)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "emnist-letters"])
def test_files_of_some_classes_alone_make_as_many_outputs(tmp_path, name):
    write(tmp_path, emnist_files("letters") if "emnist" in name else MNIST_FILES, n_classes=2, first_label=1)
    data = load_data(name, folder=tmp_path)
    assert (data.n_classes, data.classes) == (2, (0, 1) if "emnist" in name else (1, 2))
    task = make_task("OnlineClassification", source=data, n_train=10, n_query=5)
    assert (task.output_size, task.chance) == (2, 1 / 2)
    if name == "mnist":
        assert data.splits == {"train": (0,), "validation": (1,), "test": ()}


def test_labels_of_letters_begin_with_1(tmp_path):
    write(tmp_path, emnist_files("letters"), n_classes=26, first_label=0)
    with pytest.raises(UsageError, match="must hold labels from 1 to 26, not 0"):
        load_data("emnist-letters", folder=tmp_path)


def test_mnist_serves_few_shot_classification(tmp_path):
    write(tmp_path, MNIST_FILES, n_train=200, n_test=100)
    task = make_task("FewShotImageClassification", source=load_data("mnist", folder=tmp_path), rotate=False)
    kinds = task.sample(50, torch.Generator().manual_seed(0)).hidden["kind"]
    assert set(kinds.unique().tolist()) <= {0, 1, 5, 6, 7, 9}


@pytest.mark.skipif(
    not Path(os.environ.get("PLASTIC_ENVS_DATA", "/nowhere"), "mnist").is_dir(),
    reason="PLASTIC_ENVS_DATA names no folder that has MNIST in its subfolder mnist",
)
def test_mnist_itself():
    data = load_data("mnist")
    assert data.features.shape == (70_000, 784)
    assert data.labels[data.rows("train")].bincount().tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949
    ]  # fmt: skip
    assert data.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.features[data.rows("train")].mean().item() == pytest.approx(0.1307, abs=1e-4)
    # The digest of the original training images.
    pixels = (data.features[:60_000] * 255).round().to(torch.uint8).numpy()
    assert hashlib.md5(idx(pixels.reshape(-1, 28, 28))).hexdigest() == "6bbc9ace898e44ae57da46a324031adb"


SYNTHETIC = ("halfspace", "relu1", "relu2", "rnn")


@pytest.mark.parametrize("inputs", ["normal", "uniform"])
@pytest.mark.parametrize("source", SYNTHETIC)
def test_synthetic_points(source, inputs):
    data = load_data(source, inputs=inputs)
    assert data.features.shape == (20_000, 10)
    assert data.rows("train").tolist() == list(range(10_000))
    majority = [data.labels[data.rows(part)].bincount().max().item() / 10_000 for part in ("train", "test")]
    assert abs(majority[0] - majority[1]) < 0.02  # the parts are alike
    assert 0.5 <= majority[0] < 0.9
    if source == "halfspace":
        assert majority[0] < 0.52
    spread = data.features.std().item()
    assert spread == pytest.approx(1.0 if inputs == "normal" else 1 / 3**0.5, abs=0.005)
    assert data.features.mean().abs() < 0.01
    if inputs == "uniform":
        assert data.features.abs().max() <= 1


def uniforms(shape, bound, generator):
    return ((2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1) * bound).tolist()


@pytest.mark.parametrize("inputs", ["normal", "uniform"])
def test_halfspace_labels_are_the_side_of_the_plane(inputs):
    data = load_data("halfspace", inputs=inputs)
    weight = uniforms((10,), 1, torch.Generator().manual_seed(0))
    for n in range(200):
        side = sum(value * w for value, w in zip(data.features[n].tolist(), weight, strict=True))
        assert data.labels[n] == (side > 0)


@pytest.mark.parametrize(
    ("source", "option", "value", "words"),
    [
        ("relu1", "n_hidden", 10**11, r"n_hidden=100000000000 takes .* GB, more memory than this machine has"),
        ("rnn", "n_units", 10**8, "n_units=100000000 takes .* GB, more memory than this machine has"),
        ("rnn", "cap", 101, "cap must be an integer from 1 to 100, not 101"),
        ("rnn", "rounds", 0, "rounds must be an integer of at least 1"),
        ("rnn", "p_edge", 2, "p_edge must be a number from 0 to 1"),
        ("halfspace", "seed", "a", "seed must be an integer"),
    ],
)
def test_synthetic_points_of_other_networks_are_checked(source, option, value, words):
    with pytest.raises(UsageError, match=words):
        load_data(source, **{option: value})


@pytest.mark.parametrize(("source", "seed"), [("relu1", 1), ("relu2", 2)])
def test_relu_labels_are_those_of_the_network(source, seed):
    data, generator = load_data(source), torch.Generator().manual_seed(seed)
    into, out = uniforms((10, 1000), 1, generator), uniforms((1000, 2), 1, generator)
    for n in range(20):
        x = data.features[n].tolist()
        hidden = [max(0.0, sum(x[i] * into[i][j] for i in range(10))) for j in range(1000)]
        outputs = [sum(hidden[j] * out[j][k] for j in range(1000)) for k in range(2)]
        assert data.labels[n] == (outputs[1] > outputs[0])


def test_rnn_labels_are_those_of_the_network():
    data, generator = load_data("rnn", inputs="uniform"), torch.Generator().manual_seed(3)
    weights = []
    for n in (10, 100):
        values = np.array(uniforms((n, 100), 0.5, generator))
        weights.append(values * (torch.rand(n, 100, generator=generator) < 0.5).numpy())
    into, within = weights
    bias, out, out_bias = (np.array(uniforms(shape, 0.5, generator)) for shape in ((100,), (100, 2), (2,)))
    some_lost = 0
    for n in range(2000):
        x, h = data.features[n].double().numpy(), np.zeros(100)
        for _ in range(3):
            drive = x @ into + h @ within - h * np.diag(within) + bias  # no unit drives itself
            active = np.maximum(drive, 0)
            threshold = np.sort(active)[50]
            h = np.where(active >= threshold, active, 0)
            some_lost += threshold > 0
        outputs = h @ out + out_bias
        assert data.labels[n] == (outputs[1] > outputs[0])
    assert some_lost > 1000  # it matters who wins


def test_parts_of_data_without_a_test_part():
    data = load_data("digits")
    counts, test = (data.labels[part].bincount() for part in (slice(None), data.test))
    assert data.test.sum() == 359
    assert ((test / counts) - 0.2).abs().max() < 0.004
    again = LabelledData(data.features, data.labels)
    assert torch.equal(again.test, data.test)
    assert not torch.equal(data.test[:300].nonzero(), data.test[300:600].nonzero())
    assert sorted([*data.rows("train").tolist(), *data.rows("test").tolist()]) == list(range(1797))


def test_parts_given_apart():
    data = load_data((torch.zeros(5, 3), torch.tensor([0, 1, 2, 0, 1]), torch.ones(2, 3), torch.tensor([3, 1])))
    assert data.test.tolist() == [False] * 5 + [True] * 2
    assert data.n_classes == 4
    assert data.image_shape is None


@pytest.mark.parametrize(
    ("given", "options", "words"),
    [
        ((torch.zeros(3, 4), torch.tensor([0, 1, -1])), {}, "3 integers from 0"),
        ((torch.full((3, 4), float("inf")), torch.arange(3)), {}, "finite"),
        ((torch.zeros(3, 4), torch.arange(3), torch.zeros(1, 5), torch.arange(1)), {}, "one shape"),
        ("digits", {"inputs": "uniform"}, "inputs"),
        ("relu1", {"inputs": "gaussian"}, "inputs must be one of normal, uniform"),
        ((torch.zeros(3, 4), torch.arange(3)), {"inputs": "uniform"}, "inputs is for sources by name"),
        ("emnist-balance", {}, "did you mean 'emnist-balanced'"),
    ],
)
def test_bad_data_are_refused(given, options, words):
    with pytest.raises(UsageError, match=words):
        load_data(given, **options)


@pytest.mark.parametrize(
    "options", [{"test": torch.zeros(2, dtype=torch.bool)}, {"test": torch.zeros(3)}, {"n_classes": 2}]
)
def test_parts_and_classes_must_fit(options):
    with pytest.raises(UsageError, match=next(iter(options))):
        LabelledData(torch.zeros(3, 4), torch.arange(3), **options)


def test_every_data_set_says_what_it_is():
    assert {"digits", "mnist", "fashion-mnist", "emnist-balanced", *SYNTHETIC} <= set(DATA)
    assert all(row.summary for row in DATA.values())
