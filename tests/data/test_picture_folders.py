"""Folders of pictures that hold more than pictures, or other parts than all three: what is read, and what is told."""

import io
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from plastic_envs import UsageError, make_task
from plastic_envs.data import load_data
from tests.data.test_picture_data import folder_of, png

SYSTEM = [
    ".ipynb_checkpoints", ".git", ".DS_Store", "._a", "__MACOSX", "__pycache__", "@eaDir", "@__thumb", "#recycle",
    "$RECYCLE.BIN", "System Volume Information", "lost+found", ".Trash-1000", ".thumbnails", "CVS",
]  # fmt: skip


def add(path, value=7):
    """One picture of one grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(np.full((8, 8, 3), value, np.uint8)))


def same(one, other):
    assert torch.equal(one.features, other.features)
    assert (one.labels.tolist(), one.splits, one.n_classes) == (other.labels.tolist(), other.splits, other.n_classes)
    assert torch.equal(one.test, other.test)


@pytest.mark.parametrize("name", SYSTEM)
@pytest.mark.parametrize("parts", ["", "train val test"])
def test_hidden_and_system_files_change_nothing(tmp_path, name, parts):
    for index, place in enumerate(parts.split() or ["."]):
        folder_of(tmp_path / "plain" / place, [f"{letter}{index}" for letter in "bca"])
    shutil.copytree(tmp_path / "plain", tmp_path / "dirty")
    for place in ("dirty", *(f"dirty/{part}/b{index}" for index, part in enumerate(parts.split() or ["."]))):
        add(tmp_path / place / name / "0.png")
        add(tmp_path / place / name / "cat" / "0.png")
        (tmp_path / place / "Thumbs.db").write_bytes(b"")
        (tmp_path / place / "desktop.ini").write_text("")
        add(tmp_path / place / "._0.png")
        add(tmp_path / place / ".hidden.png")
    same(load_data(f"{tmp_path}/dirty"), load_data(f"{tmp_path}/plain"))


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("cover.png", r"pictures: cover\.png is not read, beside or below the folders of classes"),
        ("a/more/0.png", r"a/more/0\.png is not read"),
        ("a/much/more/0.png", r"a/much/more/0\.png is not read"),
    ],
)
def test_pictures_that_are_not_read_are_told(tmp_path, extra, words):
    folder_of(tmp_path / "pictures", ["b", "a"])
    plain = load_data(tmp_path / "pictures")
    shutil.copytree(tmp_path / "pictures", tmp_path / "more" / "pictures")
    add(tmp_path / "more" / "pictures" / extra)
    with pytest.warns(UserWarning, match=words):
        same(load_data(tmp_path / "more" / "pictures"), plain)


def test_more_of_them_are_counted(tmp_path):
    for part in ("train", "val", "test"):
        folder_of(tmp_path / part, ["x", part])
        shutil.rmtree(tmp_path / part / "x")
    for name in ("c.png", "extra/a.png", "train/b.png"):
        add(tmp_path / name)
    with pytest.warns(UserWarning, match=r"c\.png and 2 more are not read"):
        load_data(tmp_path)


def test_a_folder_without_pictures_is_told(tmp_path):
    folder_of(tmp_path, ["b", "a"])
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "0.heic").write_bytes(b"")
    with pytest.warns(UserWarning, match="/c holds no pictures of a known kind, and is passed over"):
        assert load_data(tmp_path).n_classes == 2


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Train", "VALID", "Test"), ("training", "Validation", "testing")]
)
def test_parts_with_classes_of_their_own_are_splits(tmp_path, names):
    for name, classes in zip(names, (["d", "a"], ["c"], ["b"]), strict=True):
        folder_of(tmp_path / name, classes)
    assert load_data(tmp_path).splits == {"train": (0, 3), "validation": (2,), "test": (1,)}


def test_train_and_test_with_classes_of_their_own(tmp_path):
    folder_of(tmp_path / "train", ["d", "a"])
    folder_of(tmp_path / "test", ["c", "b"])
    with pytest.warns(UserWarning, match="has train and test but no val: there is nothing for validation"):
        data = load_data(tmp_path)
    assert data.splits == {"train": (0, 3), "validation": (), "test": (1, 2)}
    task = make_task("FewShotImageClassification", source=data, n_way=2, rotate=False)
    assert set(task.held_out().sample(9, torch.Generator()).hidden["kind"].unique().tolist()) == {1, 2}


@pytest.mark.parametrize("val", [False, True])
def test_parts_with_the_same_classes_are_parts_of_the_examples(tmp_path, val):
    """As most data for classification are laid out: test is what is asked, val is not."""
    for index, part in enumerate(("train", "test", *(["val"] if val else []))):
        for name in ("cat", "dog"):
            add(tmp_path / part / name / "0.png", 10 * index + (name == "dog"))
    if val:
        data = load_data(tmp_path)
    else:
        with pytest.warns(UserWarning, match="no val"):
            data = load_data(tmp_path)
    assert data.n_classes == 2
    assert sorted(data.features[data.rows("test"), 0].tolist()) == [10, 11]
    assert sorted(data.features[data.rows("train"), 0].tolist()) == [0, 1] + ([20, 21] if val else [])
    assert (data.features[:, 0] % 10).tolist() == data.labels.tolist()


def test_parts_without_classes(tmp_path):
    """Enough for tasks that name no classes."""
    for part in ("train", "test", "val"):
        for index in range(3):
            add(tmp_path / part / f"{index}.png", 40 if part == "test" else index)
    data = load_data(tmp_path)
    assert data.n_classes == 1
    assert data.features[data.rows("test"), 0].tolist() == [40] * 3
    assert make_task("ImageCompletion", source=tmp_path).held_out().sample(2, torch.Generator()).inputs.isfinite().all()
    with pytest.raises(UsageError, match="at least two classes"):
        make_task("OnlineClassification", source=data)


def test_a_class_may_be_called_train(tmp_path):
    folder_of(tmp_path, ["car", "plane", "train"])
    assert load_data(tmp_path).n_classes == 3


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["train/a/0.png", "val/b/0.png"], "has train and val but no pictures in a folder test"),
        (["train/a/0.png"], "has train but no pictures in a folder test"),
        (["train/0.png", "val/0.png"], "has train and val but no pictures in a folder test"),
        (["train/a/0.txt", "test/a/0.png"], "no pictures in a folder train"),
        (["train/a/0.png", "test/0.png"], "test holds pictures, but no folders of classes as others beside it do"),
        (["train/a/0.png", "val/b/0.png", "valid/c/0.png", "test/d/0.png"], "has both val and valid: leave one"),
        (["train/a/0.png", "Train/b/0.png", "test/d/0.png"], "has both Train and train: leave one"),
        (["train/a/0.png", "test/a/0.png", "test/b/0.png"], "but 'a' is in two of them and 'b' is not in train"),
        (["train/a/0.png", "val/b/0.png", "test/b/0.png"], "but 'b' is in two of them and 'b' is not in train"),
        (["pictures/a/0.png", "pictures/b/0.png"], "holds no pictures .*, but its subfolder pictures does, in folders"),
        (["a/0.heic"], "holds no pictures"),
    ],
)
def test_what_is_not_clear_is_refused(tmp_path, files, words):
    for file in files:
        add(tmp_path / file)
    with pytest.raises(UsageError, match=words) as refused:
        load_data(tmp_path)
    assert "\n" not in str(refused.value)


def test_links(tmp_path):
    folder_of(tmp_path / "real", ["a", "b"])
    home = tmp_path / "home"
    home.mkdir()
    for name in "ab":
        (home / name).symlink_to(tmp_path / "real" / name)
    (home / "loop").symlink_to(home)
    (home / "up").symlink_to("..")
    (home / "circle").symlink_to(home / "circle")
    same(load_data(home), load_data(tmp_path / "real"))
    folder_of(tmp_path / "broken", ["a"])
    (tmp_path / "broken" / "a" / "gone.png").symlink_to("nowhere")
    with pytest.raises(UsageError, match=r"cannot read .*gone\.png: No such file"):
        load_data(f"{home}/../broken//")


@pytest.mark.parametrize(
    ("make", "words"), [(os.mkfifo, "a named pipe"), (lambda path: path.symlink_to("/dev/zero"), "a device")]
)
def test_what_is_called_a_picture_and_is_no_file(tmp_path, make, words):
    folder_of(tmp_path, ["a", "b"])
    make(tmp_path / "a" / "9.png")
    (tmp_path / "a" / "folder.png").mkdir()
    with pytest.raises(UsageError, match=rf"a/9\.png: it is {words}, not a file"):
        load_data(tmp_path)


def test_a_folder_that_is_closed_to_us(tmp_path, monkeypatch):
    folder_of(tmp_path, ["a", "b"])
    inside = type(tmp_path).iterdir

    def closed(self):
        if self.name == "b":
            raise PermissionError(13, "Permission denied")
        return inside(self)

    monkeypatch.setattr(type(tmp_path), "iterdir", closed)
    with pytest.raises(UsageError, match=r"cannot read the folder .*/b: Permission denied"):
        load_data(tmp_path)


def test_folders_as_users_write_them(tmp_path, monkeypatch):
    folder_of(tmp_path / "pictures", ["a", "b"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for source in ("./pictures", "pictures/", "~/pictures", tmp_path / "pictures"):
        assert load_data(source).n_classes == 2
    with pytest.raises(UsageError, match=r"the folder of that name is written '\./pictures'"):
        load_data("pictures")
    for source in ("./" + "x" * 300, "./a\0b", f"{tmp_path}/pictures/a/0.png"):
        with pytest.raises(UsageError, match="is no folder of pictures"):
            load_data(source)


def test_large_pictures_are_reduced_one_by_one(tmp_path):
    """Of one large size among others, and alone: the same numbers as when all were kept."""
    folder_of(tmp_path / "alone", ["a", "b"], (128, 128))
    folder_of(tmp_path / "mixed", ["a", "b"], (128, 128))
    folder_of(tmp_path / "mixed", ["c"], (64, 64))
    folder_of(tmp_path / "mixed", ["d"], (32, 32))
    alone, mixed = load_data(tmp_path / "alone"), load_data(tmp_path / "mixed")
    assert torch.equal(mixed.features[:4], alone.features)
    for row, side in ((0, 128), (4, 64), (6, 32)):
        pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        means = torch.from_numpy(pixels).permute(2, 0, 1).float().view(3, 32, side // 32, 32, side // 32).mean((2, 4))
        assert (mixed.features[row].view(3, 32, 32) - means).abs().max() <= 0.5


TABLES = {
    "binary": (b"\x93NUMPY\x01\x00\xff", r"train\.csv is damaged: 'utf-8' codec"),
    "null characters": (b"filename,label\na\0.png,x\n", r"train\.csv|null"),
    "no columns": (b"", "holds no pictures|filename and label"),
    "too few values": (b"filename,label\na.png\n", "must have the columns filename and label in every line"),
    "too many values": (b"a,b\na.png,x,y,z\n", "must have the columns filename and label in every line, not a, b"),
    "an endless value": (b"filename,label\n" + b"x" * 200_000 + b",y\n", "cannot be read as a table: field larger"),
    "twice": (b"filename,label\nx/0.png,x\nx/0.png,y\n", "names the file 'x/0.png', twice"),
    "elsewhere": (b"filename,label\n../x.png,x\n", "names the file '../x.png', which is not in"),
    "from the root": (b"filename,label\n/etc/x.png,x\n", "names the file '/etc/x.png', which is not in"),
    "missing": (b"filename,label\nx/9.png,x\n", r"cannot read .*x/9\.png"),
    "large": (b"a" * 20_000_001, "at most 0.02 GB are read"),
}


@pytest.mark.parametrize(("content", "words"), TABLES.values(), ids=list(TABLES))
def test_tables_with_something_wrong(tmp_path, content, words):
    folder_of(tmp_path / "images", ["x"])
    for part in ("train", "val", "test"):
        (tmp_path / f"{part}.csv").write_bytes(content if part == "train" else b"filename,label\n")
    with pytest.raises(UsageError, match=words) as refused:
        load_data(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("lists", "words"),
    [
        (["a\n", "b\n", "a\n"], r"test\.txt names the class 'a', which is in a list already"),
        (["../a\n", "b\n", ""], r"names the class '\.\./a', but there is no folder"),
        (["zebra\n", "b\n", ""], "a list names the class 'zebra'"),
        (["\xff", "b", "a"], "is damaged: 'utf-8' codec"),
    ],
)
def test_lists_with_something_wrong(tmp_path, lists, words):
    folder_of(tmp_path, ["a", "b"])
    for part, content in zip(("train", "val", "test"), lists, strict=True):
        (tmp_path / f"{part}.txt").write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match=words):
        load_data(tmp_path)


def test_tables_from_a_spreadsheet_and_lists_of_names_with_spaces(tmp_path):
    folder_of(tmp_path / "tables" / "images", ["hot dog", "b", "c"])
    folder_of(tmp_path / "lists", ["hot dog", "b", "c"])
    for part, name in zip(("Train", "VAL", "test"), ("hot dog", "b", "c"), strict=True):
        rows = ["filename,label", *(f"{name}/{index}.png,{name}" for index in range(2)), ""]
        (tmp_path / "tables" / f"{part}.csv").write_bytes("\r\n".join(rows).encode("utf-8-sig"))
        (tmp_path / "lists" / f"{part}.txt").write_bytes(f"{name}\r\n\r\n".encode("utf-8-sig"))
    tables, lists = load_data(tmp_path / "tables"), load_data(tmp_path / "lists")
    assert tables.splits == {"train": (2,), "validation": (0,), "test": (1,)}
    same(tables, lists)
    (tmp_path / "tables" / "VAL.csv").unlink()
    shutil.copytree(tmp_path / "tables", tmp_path / "two")
    with (
        pytest.warns(UserWarning, match=r"has train\.csv and test\.csv but no val\.csv: they are not read"),
        pytest.raises(UsageError, match="its subfolder images does, in folders: name that one"),
    ):
        load_data(tmp_path / "two")


def test_upper_case_endings_and_other_endings_of_known_formats(tmp_path):
    content = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(content, "JPEG")
    for number, name in enumerate(("a.JPG", "b.jfif", "c.jpe", "d.JPEG", "e.pnm")):
        (tmp_path / name).write_bytes(b"P6 8 8 255\n" + bytes(192) if number == 4 else content.getvalue())
    assert len(load_data(tmp_path).labels) == 5
