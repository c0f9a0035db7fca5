"""Data files as others lay them out: the names and folders of torchvision and Kaggle, and CIFAR for Python."""

import gzip
import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from plastic_envs import UsageError
from plastic_envs.data import load_data
from tests.data.test_archives import BATCHES, tar_of
from tests.data.test_data_files import MNIST_FILES, emnist_files, write
from tests.data.test_picture_data import omniglot

pytestmark = pytest.mark.usefixtures("only_data_folder")


def of_python_2(labels, pixels, key=b"labels"):
    """A batch as the version for Python was written: protocol 2, strings of bytes, an array by its state."""
    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    shape = b"K" + bytes([len(labels)]) + b"M\x00\x0c\x86q\x06"
    array = b"cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87Rq\x05(K\x01" + shape
    array += (
        b"cnumpy\ndtype\nq\x07U\x02u1K\x00K\x01\x87Rq\x08(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    )
    array += b"T" + len(pixels).to_bytes(4, "little") + pixels + b"tb"
    parts = [
        (b"batch_label", b"U\x04what"),
        (key, b"]q\x02(" + numbers + b"e"),
        (b"data", array),
        (b"filenames", b"](U\x01aU\x01be"),
    ]
    pairs = b"".join(b"U" + bytes([len(name)]) + name + value for name, value in parts)
    return b"\x80\x02}q\x01(" + pairs + b"u."


PICKLED = {f"protocol {number}": number for number in range(6)}


@pytest.mark.parametrize("form", ["Python 2", *PICKLED])
@pytest.mark.parametrize("name", ["cifar-10", "cifar-100"])
@pytest.mark.parametrize("packed", [False, True])
def test_cifar_for_python(tmp_path, name, form, packed):
    files, key = (BATCHES, "labels") if name == "cifar-10" else (["train", "test"], "fine_labels")
    folder = "cifar-10-batches-py" if name == "cifar-10" else "cifar-100-python"
    pixels = np.random.default_rng(0).integers(0, 256, (len(files), 3, 3072), np.uint8)
    contents = {}
    for file, batch in zip(files, pixels, strict=True):
        labels = [7, 2, len(contents)]
        if form == "Python 2":
            contents[file] = of_python_2(labels, batch.tobytes(), key.encode())
            assert pickle.loads(contents[file], encoding="latin-1")[key] == labels  # this is how it is written
        else:
            pickled = {"coarse_labels": [1, 1, 1], key: labels, "data": batch, "filenames": ["a", "b"]}
            contents[file] = pickle.dumps(pickled, PICKLED[form])
    if packed:
        members = [(tarfile.TarInfo(f"{folder}/{file}"), content) for file, content in contents.items()]
        for made, content in members:
            made.size = len(content)
        tar_of(tmp_path / f"{name}-python.tar.gz", members)
    else:
        (tmp_path / folder).mkdir()
        for file, content in contents.items():
            (tmp_path / folder / file).write_bytes(content)
    data = load_data(name)
    assert torch.equal(data.features, torch.from_numpy(pixels.reshape(-1, 3072)))
    given = [label for number in range(len(files)) for label in (7, 2, number)]
    assert [data.classes[label] for label in data.labels] == given
    assert data.rows("test").tolist() == list(range(len(given)))[-3:]


class Bomb:
    """What runs code when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("exploded",)


PICKLES = {
    "code": (pickle.dumps(Bomb()), "must hold labels"),
    "code in a batch": (pickle.dumps({"labels": [1], "data": Bomb()}), "must hold labels"),
    "no pickle": (b"torn", "cannot be read, is cut short"),
    "cut short": (of_python_2([1, 2], bytes(6144))[:-100], "cannot be read, is cut short"),
    "too few pictures": (of_python_2([1, 2, 3], bytes(6144)), "must hold labels and 3,072 bytes by rows for each"),
    "by columns": (
        pickle.dumps({"labels": [1, 2], "data": np.asfortranarray(np.zeros((2, 3072), np.uint8))}),
        "by rows",
    ),
    "many parts": (pickle.dumps({"labels": [1]})[:-2] + b"N" * 400_000 + b".", "more than 400,000 parts"),
    "a length of 2⁶³": (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f" + b".", "cannot be read, is cut short"),
    "a place of 2³¹": (b"\x80\x02]r\xff\xff\xff\x7f.", "must hold labels"),
    "a label of words": (of_python_2([10, 2], bytes(6144)), "labels must be below 10, one is 10"),
    "a label below 0": (pickle.dumps({"labels": [-1, 2], "data": np.zeros((2, 3072), np.uint8)}), "one is -1"),
}


@pytest.mark.parametrize(("content", "words"), PICKLES.values(), ids=list(PICKLES))
def test_pickles_are_read_without_running_them(tmp_path, monkeypatch, content, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar-10-batches-py").mkdir()
    for file in BATCHES:
        (tmp_path / "cifar-10-batches-py" / file).write_bytes(content)
    with pytest.raises(UsageError, match=words):
        load_data("cifar-10")
    assert not (tmp_path / "exploded").exists()


FORMS = [
    ("mnist", "MNIST/raw", str),
    ("mnist", "MNIST", str),
    ("mnist", ".", lambda name: name.replace("-idx", ".idx")),
    ("mnist", "mnist", lambda name: name.replace("-idx", ".idx").removesuffix(".gz")),
    ("mnist", "MNIST/raw", lambda name: name.removesuffix(".gz")),
    ("mnist", "raw", str),
    ("mnist", "mnist", lambda name: f"{name.removesuffix('.gz')}/{name.removesuffix('.gz').replace('-idx', '.idx')}"),
    ("fashion-mnist", "FashionMNIST/raw", str),
    ("fashion-mnist", "fashion_mnist", str),
    ("fashion-mnist", "Fashion-MNIST", str),
    ("emnist-letters", "EMNIST/raw", lambda name: name.removesuffix(".gz")),
    ("emnist-letters", "emnist/gzip", str),
    ("emnist-letters", "gzip", str),
    ("emnist-letters", "emnist_letters", str),
]


@pytest.mark.parametrize(("name", "where", "rename"), FORMS)
def test_files_under_other_usual_names_are_found(tmp_path, name, where, rename):
    usual = emnist_files("letters") if "emnist" in name else MNIST_FILES
    held = write(tmp_path / "made", usual, n_classes=10, first_label=int("emnist" in name))
    home = tmp_path / "data"
    for file in usual:
        target = home / where / rename(file)
        target.parent.mkdir(parents=True, exist_ok=True)
        content = (tmp_path / "made" / file).read_bytes()
        target.write_bytes(content if target.suffix == ".gz" else gzip.decompress(content))
        (target.parent / f"._{target.name}").write_bytes(b"of a system")
    assert load_data(name, folder=home).labels.tolist() == [n % 10 for n in range(30)] + [n % 10 for n in range(20)]
    assert len(held) == 4


def test_one_data_set_is_not_taken_for_another(tmp_path):
    write(tmp_path / "MNIST" / "raw", MNIST_FILES)
    with pytest.raises(UsageError, match="'fashion-mnist' needs the file train-images"):
        load_data("fashion-mnist")


@pytest.mark.parametrize("where", ["omniglot-py", "Omniglot", "omniglot/python", ".", "omniglot-py unpacked"])
def test_omniglot_where_others_put_it(tmp_path, where):
    where, *unpacked = where.split()
    (tmp_path / where).mkdir(parents=True, exist_ok=True)
    omniglot(tmp_path / where, "images_background", {"Greek": 2, "Korean": 3})
    if unpacked:
        with zipfile.ZipFile(tmp_path / where / "images_background.zip") as archive:
            archive.extractall(tmp_path / where)
        (tmp_path / where / "images_background.zip").unlink()
    assert load_data("omniglot").n_classes == 5


def test_the_folder_may_be_written_from_home(tmp_path, monkeypatch):
    write(tmp_path / "mnist", MNIST_FILES)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PLASTIC_ENVS_DATA", "~")
    assert len(load_data("mnist").labels) == 50
