"""Runs, comparisons, transfers and claims share one protocol for the folder that they are written into."""

import pytest

from evolution.runs.resumable import MARKS, ResumableFolder, marks_in
from plastic_envs.utils.errors import OccupiedFolderError, UsageError

HOW = {
    "new": {"resume": False},
    "resume": {"resume": True, "overwrite": False},
    "overwrite": {"resume": False, "overwrite": True},
}
every_kind = pytest.mark.parametrize("what", MARKS)


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def goes_on(folder, what, how):
    with ResumableFolder(folder, what, **HOW[how]).held() as found:
        return found


def refuse(folder, what, *names):
    with ResumableFolder(folder, what, resume=False).held():
        for name in names:
            touch(folder / name)
        raise UsageError("not this")


@every_kind
@pytest.mark.parametrize("how", HOW)
def test_what_is_not_there_is_begun(how, what, tmp_path):
    assert goes_on(tmp_path / "out", what, how) is False
    touch(tmp_path / "out" / f"{MARKS[what][-1]}.tmp")  # of a process that was killed at its first file
    assert goes_on(tmp_path / "out", what, how) is False


@every_kind
def test_what_was_begun_is_replaced_or_gone_on_with_only_if_asked(what, tmp_path):
    touch(tmp_path / MARKS[what][-1])
    assert (goes_on(tmp_path, what, "resume"), goes_on(tmp_path, what, "overwrite")) == (True, False)
    with pytest.raises(OccupiedFolderError, match=f"holds a {what}.*: go on with --resume .*, or name another folder"):
        goes_on(tmp_path, what, "new")
    assert marks_in(tmp_path, what) == [MARKS[what][-1]]


def test_a_finished_claim_without_its_parts_is_only_replaced(tmp_path):
    touch(tmp_path / "claim.json")
    with pytest.raises(OccupiedFolderError, match=r"already holds a claim: replace it with --overwrite .*, or name"):
        goes_on(tmp_path, "claim", "resume")
    assert goes_on(tmp_path, "claim", "overwrite") is False


@every_kind
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", ["letter.txt", "parts/mine/letter.txt", "parts/mine.tmp"])
def test_what_is_something_else_is_left_alone(name, how, what, tmp_path):
    touch(tmp_path / name)
    with pytest.raises(OccupiedFolderError, match=r"is not empty and .*\(no "):
        goes_on(tmp_path, what, how)
    assert (tmp_path / name).exists()


@every_kind
def test_a_refusal_leaves_no_empty_folder(what, tmp_path):
    for names in ((), MARKS[what]):
        with pytest.raises(UsageError, match="not this"):
            refuse(tmp_path / "out", what, *names)
        assert marks_in(tmp_path / "out", what) == list(names)
        assert (tmp_path / "out").exists() == bool(names)


@every_kind
def test_resume_and_overwrite_exclude_each_other(what, tmp_path):
    with pytest.raises(UsageError, match="resume and overwrite exclude each other"):
        ResumableFolder(tmp_path, what, resume=True, overwrite=True)
