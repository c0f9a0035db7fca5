"""Data sets of pictures in their original files: Omniglot, CIFAR, folders; what is damaged ends in one sentence."""

import io
import os
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from plastic_envs import UsageError, make_task
from plastic_envs.data import load_data, photographs
from plastic_envs.data.pictures import reduce
from plastic_envs.utils.errors import MissingExtraError

PARTS = ("train", "val", "test")


def png(pixels):
    """The content of a PNG file."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def drawing(seed, size=62):
    return np.random.default_rng(seed).integers(0, 2, (size, size)).astype(bool)


def omniglot(folder, name, alphabets, drawings=2):
    """A zip file as the original ones are laid out; 1-bit pictures, ink 0."""
    with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
        for number, (alphabet, characters) in enumerate(alphabets.items()):
            for character in range(characters):
                for index in range(drawings):
                    member = f"{name}/{alphabet}/character{character + 1:02d}/{number:04d}_{index + 1:02d}.png"
                    archive.writestr(member, png(~drawing(1000 * number + 10 * character + index)))


def test_omniglot_is_read_reduced_and_split_by_alphabet(tmp_path, monkeypatch):
    monkeypatch.setenv("PLASTIC_ENVS_DATA", str(tmp_path))
    omniglot(tmp_path, "images_background_small1", {"Greek": 2, "Korean": 3, "Latin": 2})
    omniglot(tmp_path, "images_background_small2", {"Greek": 2, "Tagalog": 4})
    data = load_data("omniglot")
    assert data.image_shape == (31, 31)
    assert data.n_classes == 2 + 3 + 2 + 4  # Greek once
    assert data.splits == {"train": (0, 1, 2, 3, 4), "validation": (5, 6), "test": (7, 8, 9, 10)}
    ink = torch.from_numpy(drawing(0)).float().view(31, 2, 31, 2).mean((1, 3))  # of the first drawing of Greek
    torch.testing.assert_close(data.take(torch.tensor(0)), ink.flatten(), atol=1 / 255, rtol=0)


def test_the_evaluation_set_is_for_testing_and_folders_will_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PLASTIC_ENVS_DATA", str(tmp_path))
    omniglot(tmp_path, "images_background", {"Greek": 2, "Korean": 3})
    omniglot(tmp_path, "images_evaluation", {"Angelic": 2})
    zipped = load_data("omniglot")
    assert zipped.splits["test"] == (0, 1)  # Angelic comes first
    (tmp_path / "omniglot").mkdir()
    for file in tmp_path.glob("*.zip"):
        with zipfile.ZipFile(file) as archive:
            archive.extractall(tmp_path / "omniglot")
        file.unlink()
    unpacked = load_data("omniglot")
    assert torch.equal(unpacked.features, zipped.features)
    assert unpacked.splits == zipped.splits


def test_characters_are_split_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("PLASTIC_ENVS_DATA", str(tmp_path))
    omniglot(tmp_path, "images_background", {"Greek": 6, "Korean": 6})
    splits = load_data("omniglot-characters").splits
    assert {name: len(members) for name, members in splits.items()} == {"test": 3, "validation": 3, "train": 6}
    assert sorted(label for members in splits.values() for label in members) == list(range(12))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"no zip", "cannot be read or is cut short"), (None, "needs images_background.zip")],
)
def test_omniglot_that_is_damaged_or_missing(content, sentence, tmp_path, monkeypatch):
    monkeypatch.setenv("PLASTIC_ENVS_DATA", str(tmp_path))
    if content:
        (tmp_path / "images_background.zip").write_bytes(content)
    with pytest.raises(UsageError, match=sentence):
        load_data("omniglot")


def test_a_damaged_or_empty_archive_names_what_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setenv("PLASTIC_ENVS_DATA", str(tmp_path))
    with zipfile.ZipFile(tmp_path / "images_background.zip", "w") as archive:
        archive.writestr("images_background/Greek/character01/0001_01.png", b"torn")
    with pytest.raises(UsageError, match=r"0001_01\.png cannot be read as a picture"):
        load_data("omniglot")
    with zipfile.ZipFile(tmp_path / "images_background_small1.zip", "w") as archive:
        archive.writestr("readme.txt", b"")
    (tmp_path / "images_background.zip").unlink()
    with pytest.raises(UsageError, match="holds no drawings"):
        load_data("omniglot")


@pytest.mark.skipif(
    not os.path.isfile(os.path.join(os.environ.get("PLASTIC_ENVS_DATA", ""), "omniglot/images_background_small1.zip")),
    reason="Omniglot's small sets are not in the folder that PLASTIC_ENVS_DATA names",
)
def test_omniglot_itself():
    data = load_data("omniglot")
    assert data.n_classes == 242
    assert len(data.labels) == 242 * 20
    assert {name: len(members) for name, members in data.splits.items()} == {"train": 157, "validation": 26, "test": 59}
    task = make_task("FewShotImageClassification,source=omniglot,n_query=1").held_out()
    episode = task.sample(1000, torch.Generator().manual_seed(0))
    assert 0.4 < task.metric(task.nearest_neighbour(episode), episode).mean() < 0.55  # far above chance, 0.2


def cifar(folder, name, n=4, n_labels=1, cut=0):
    """The original binary files, as an archive, of random pictures with labels 0, 1, …"""
    files = ["train.bin", "test.bin"] if name == "cifar-100" else [f"data_batch_{i}.bin" for i in range(1, 6)]
    files += [] if name == "cifar-100" else ["test_batch.bin"]
    inside = "cifar-100-binary" if name == "cifar-100" else "cifar-10-batches-bin"
    pixels = np.random.default_rng(0).integers(0, 256, (len(files), n, 3072), np.uint8)
    with tarfile.open(folder / f"{name}-binary.tar.gz", "w:gz") as archive:
        for file, batch in zip(files, pixels, strict=True):
            labels = np.stack([np.arange(n, dtype=np.uint8)] * n_labels, 1)
            content = np.concatenate([labels, batch], 1).tobytes()
            member = tarfile.TarInfo(f"{inside}/{file}")
            member.size = len(content) - cut
            archive.addfile(member, io.BytesIO(content))
    return pixels


@pytest.mark.parametrize(("name", "n_labels"), [("cifar-10", 1), ("cifar-100", 2)])
def test_cifar_is_read_from_its_archive_and_from_the_folder_in_it(name, n_labels, tmp_path, monkeypatch):
    monkeypatch.setenv("PLASTIC_ENVS_DATA", str(tmp_path))
    pixels = cifar(tmp_path, name, n_labels=n_labels)
    data = load_data(name)
    assert data.image_shape == (3, 32, 32)
    assert torch.equal(data.features, torch.from_numpy(pixels.reshape(-1, 3072)))
    assert torch.equal(data.rows("test"), torch.arange(len(data.labels))[-4:])
    assert torch.equal(data.labels[:4], torch.arange(4))
    with tarfile.open(tmp_path / f"{name}-binary.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / f"{name}-binary.tar.gz").unlink()
    assert torch.equal(load_data(name).features, data.features)
    assert data.take(torch.tensor([1])).max() <= 1


def test_cifar_that_is_cut_short_or_has_wrong_labels(tmp_path, monkeypatch):
    monkeypatch.setenv("PLASTIC_ENVS_DATA", str(tmp_path))
    cifar(tmp_path, "cifar-10", cut=5)
    with pytest.raises(UsageError, match="must hold records of 3073 bytes"):
        load_data("cifar-10")
    cifar(tmp_path, "cifar-10", n=11)
    with pytest.raises(UsageError, match="labels must be below 10, one is 10"):
        load_data("cifar-10")
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"torn")
    with pytest.raises(UsageError, match="cannot be read, is cut short or lacks"):
        load_data("cifar-10")


def folder_of(path, classes, size=(8, 8)):
    for name in classes:
        (path / name).mkdir(parents=True, exist_ok=True)
        for index in range(2):
            pixels = np.random.default_rng(index).integers(0, 256, (*size, 3), np.uint8)
            (path / name / f"{index}.png").write_bytes(png(pixels))


def test_a_folder_of_classes(tmp_path):
    folder_of(tmp_path, ["b", "a"])
    (tmp_path / "notes.txt").write_text("nothing")
    data = load_data(f"{tmp_path}/")
    assert data.image_shape == (3, 8, 8)
    assert data.labels.tolist() == [0, 0, 1, 1]
    first = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    assert torch.equal(data.features[0].view(3, 8, 8), torch.from_numpy(first).permute(2, 0, 1))


def test_pictures_of_several_sizes_are_cut_and_reduced(tmp_path):
    folder_of(tmp_path, ["a"], (40, 80))
    folder_of(tmp_path, ["b"], (64, 64))
    data = load_data(str(tmp_path))
    assert data.image_shape == (3, 32, 32)
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).permute(2, 0, 1)
    means = pixels.float().view(3, 32, 2, 32, 2).mean((2, 4))
    assert (data.features[2].view(3, 32, 32) - means).abs().max() <= 0.5


def test_reduce_takes_the_central_square():
    wide = torch.zeros(4, 8)
    wide[:, 2:6] = torch.arange(16.0).view(4, 4)
    torch.testing.assert_close(reduce(wide, 2), torch.tensor([[2.5, 4.5], [10.5, 12.5]]))


@pytest.mark.parametrize("form", ["folders", "lists", "tables"])
def test_splits_as_cifar_fs_and_miniimagenet_have_them(form, tmp_path, monkeypatch):
    monkeypatch.setenv("PLASTIC_ENVS_DATA", str(tmp_path))
    home = tmp_path / "cifar-fs"
    parts = {"train": ["d", "a"], "val": ["c"], "test": ["b"]}
    if form == "folders":
        for part, classes in parts.items():
            folder_of(home / part, classes)
    elif form == "lists":
        folder_of(home / "data", "abcd")
        (home / "splits" / "bertinetto").mkdir(parents=True)
        for part, classes in parts.items():
            (home / "splits" / "bertinetto" / f"{part}.txt").write_text("\n".join(classes))
    else:
        for part, classes in parts.items():
            folder_of(home / "images", classes)
            lines = [f"{name}/{index}.png,{name}" for name in classes for index in range(2)]
            (home / f"{part}.csv").write_text("\n".join(["filename,label", *lines]))
    data = load_data("cifar-fs")
    assert data.splits == {"train": (0, 3), "validation": (2,), "test": (1,)}
    task = make_task("FewShotImageClassification,source=cifar-fs,n_way=4")
    assert task.slices["image"].shape == (3, 8, 8)
    episode = task.sample(6, torch.Generator().manual_seed(0))
    turned = {tuple(data.take(torch.tensor(row)).view(3, 8, 8).rot90(turn, (1, 2)).flatten().tolist())
              for row in (0, 1, 6, 7) for turn in range(4)}  # fmt: skip
    assert all(tuple(image.tolist()) in turned for image in episode.inputs[..., :192].flatten(0, 1))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda home: None, "holds no pictures"),
        (lambda home: (home / "x.png").write_bytes(b"torn"), "x.png cannot be read as a picture"),
        (lambda home: [(home / f"{p}.txt").write_text("zebra") for p in ("train", "val", "test")], "class 'zebra'"),
        (
            lambda home: [(home / f"{p}.csv").write_text("a,b\n1,2") for p in ("train", "val", "test")],
            "filename and label",
        ),
    ],
)
def test_folders_with_something_wrong(make, sentence, tmp_path):
    make(tmp_path)
    with pytest.raises(UsageError, match=sentence):
        load_data(f"{tmp_path}/")


def test_a_folder_that_is_not_there(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="is no folder of pictures"):
        load_data(f"{tmp_path}/nowhere")
    monkeypatch.setenv("PLASTIC_ENVS_DATA", str(tmp_path))
    with pytest.raises(UsageError, match="needs a folder 'miniimagenet'"):
        load_data("miniimagenet")
    monkeypatch.delenv("PLASTIC_ENVS_DATA")
    with pytest.raises(UsageError, match="set PLASTIC_ENVS_DATA"):
        load_data("cifar-fs")


def test_bytes_that_are_floats_by_mistake_are_refused():
    with pytest.raises(UsageError, match="only 0 and 1"):
        load_data((torch.randint(2, (9, 4, 4), dtype=torch.uint8), torch.zeros(9, dtype=torch.long)))


def test_photographs_are_apart():
    data = load_data("photographs")
    assert data.image_shape == (32, 32)
    assert len(data.rows("train")) == len(data.rows("test")) == 50 * 77


def test_pillow_is_an_extra(monkeypatch, tmp_path):
    folder_of(tmp_path, ["a"])
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match="pictures"):
        load_data(f"{tmp_path}/")
    photographs.photographs.cache_clear()
    with pytest.raises(MissingExtraError, match="pictures"):
        load_data("photographs")
