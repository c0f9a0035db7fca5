"""The rules reproduce the papers' own programs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.golden import FOLDER, check, duan
from tests.golden.__main__ import main


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.npz")), ids=lambda path: path.stem)
def test_trace_is_replayed(path: Path) -> None:
    assert not check(path).misses


@pytest.mark.parametrize("name", ["step__plastic_rech_w", "grad__synaptic_lr__out_w", "loss"])
def test_a_changed_array_is_a_miss(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with np.load(FOLDER / "duan_hebbian_rnn_clip_active.npz") as archive:
        arrays = {key: archive[key] for key in archive.files}
    arrays[name] = arrays[name] + 1e-8
    np.savez(tmp_path / "duan_changed.npz", **arrays)
    assert check(tmp_path / "duan_changed.npz").misses == (name,)
    assert main([str(tmp_path / "duan_changed.npz")]) == 1
    assert "FAIL" in capsys.readouterr().out


def test_unknown_family_fails(tmp_path: Path) -> None:
    np.savez(tmp_path / "nobody_1.npz", loss=0.0)
    assert main([str(tmp_path / "nobody_1.npz")]) == 1


@pytest.mark.parametrize("bad", [np.nan, 1.0])
def test_a_damaged_value_fails_in_either_form(bad: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = duan._replay

    def damaged(trace: Any, rollout_form: bool) -> Any:
        values, gradients = honest(trace, rollout_form)
        if rollout_form:
            values["step__h"][-1, 0, 0] = bad
        return values, gradients

    monkeypatch.setattr(duan, "_replay", damaged)
    assert check(FOLDER / "duan_hebbian_rnn_clip_active.npz").misses == ("step__h",)


def test_a_file_that_is_no_trace_fails(tmp_path: Path) -> None:
    (tmp_path / "duan_torn.npz").write_bytes((FOLDER / "duan_hebbian_rnn_clip_active.npz").read_bytes()[:5000])
    assert main([str(tmp_path / "duan_torn.npz")]) == 1
