"""The rules reproduce the papers' own programs."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.golden import FOLDER, check, duan, equations
from tests.golden.__main__ import main

TRACES = sorted([*FOLDER.glob("*.npz"), *equations.FOLDER.glob("*.npz")])
WHERE = {path.stem: path for path in TRACES}


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_trace_is_replayed(path: Path) -> None:
    assert not check(path).misses


def test_every_computed_trace_has_its_file() -> None:
    assert {path.stem for path in equations.FOLDER.glob("*.npz")} == set(equations.TRACES)


@pytest.mark.parametrize("name", equations.TRACES)
def test_equations_make_the_file_again(name: str) -> None:
    made, kept = equations.make(name), read(name)
    assert made.keys() == kept.keys()
    for key, value in made.items():
        assert value.dtype == kept[key].dtype
        if value.dtype.kind == "f":
            np.testing.assert_allclose(value, kept[key], rtol=1e-12, atol=1e-12)
        else:
            np.testing.assert_array_equal(value, kept[key])


def read(name: str) -> dict[str, np.ndarray]:
    """The arrays of a trace."""
    with np.load(WHERE[name]) as archive:
        return {key: archive[key] for key in archive.files}


def said(capsys: pytest.CaptureFixture[str], path: Path) -> str:
    """Why a file fails, which the only line says and the status confirms."""
    assert main([str(path)]) == 1
    out, err = capsys.readouterr()
    assert not err
    assert out.count("\n") == 1
    start, fail, reason = out.partition("FAIL: ")
    assert start.startswith(str(path))
    assert fail
    assert "Error" not in reason
    return reason


@pytest.mark.parametrize("name", ["step__plastic_rech_w", "grad__synaptic_lr__out_w", "loss"])
def test_a_changed_array_is_a_miss(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = read("duan_hebbian_rnn_clip_active")
    arrays[name] = arrays[name] + 1e-8
    np.savez(tmp_path / "duan_changed.npz", **arrays)
    assert check(tmp_path / "duan_changed.npz").misses == (name,)
    assert said(capsys, tmp_path / "duan_changed.npz") == f"more than the tolerance off at {name}\n"


CHANGED = {
    "brainnet_forward_T2": {"cfg__cap": -1, "cfg__rounds": 1},
    "brainnet_online_additive_always_T1_randomstart": {
        "cfg__additive": False,
        "cfg__update_only_if_misclassified": True,
        "cfg__update_all_output_edges": True,
        "cfg__use_graph_rule": False,
        "cfg__step_size": 0.02,
        "cfg__loss": "mean_squared_error_of_softmax_output",
        "cfg__start": "reset",
        "cfg__epochs": 2,
    },
    "brainnet_closedform_many_solutions_one": {
        "cfg__step_size": 2.0,
        "result__rule_00_01_10_11_nan_if_singular": np.arange(4.0),
    },
    "brainnet_closedform_many_solutions_none": {"result__solved": True},
    "brainnet_closedform_binary_step1": {"result__rule_00_01_10_11_nan_if_singular": np.full(4, np.nan)},
    "duan_gradient_lstm_weight_clip_norm": {
        "cfg__plasticity_mode": "hebbian",
        "cfg__rnn": "RNN",
        "cfg__p_lr": 0.1,
        "cfg__p_wd": 0.1,
        "cfg__inner_grad_clip": 9.0,
        "cfg__extra_dim": 0,
        "cfg__modulation": False,
        "cfg__layernorm": False,
        "cfg__layernorm_eps": 0.1,
        "cfg__weight_clip_nan_means_none": np.nan,
        "cfg__inner_lr_mode": "none",
        "cfg__params_with_no_gradient_path": np.array(["base_param__in_w"]),
    },
    "shervani_fix_all_terms": {
        "cfg__softplus_beta": 9.0,
        "cfg__terms": np.array(["pseudo_gradient", "Oja"]),
        "cfg__feedback": "sym",
        "cfg__l1_lambda": 0.5,
        "cfg__meta_adam_lr": 0.5,
    },
    "miconi_simple_boost20": {"cfg__input_boost": 1.0, "cfg__pattern_size": 7},
    "miconi_images_shared": {"cfg__alpha_shared": False},
    "miconi_maze_modul_sig": {
        "cfg__network_type": "plastic",
        "cfg__addpw": 3,
        "cfg__modulator_nonlinearity": "tanh",
    },
    "miconi_maze_modul_lin_repaired": {"cfg__repaired_code": False},
    "miconi_simplemaze_narrow": {"cfg__clip": 0.4},
    "miconi_omniglot_head_selu": {
        "cfg__rule": "hebb",
        "cfg__alpha": "yoked",
        "cfg__conv_activation": "relu",
        "cfg__conv_stride": 2,
        "cfg__conv_kernel": 2,
        "cfg__label_gain": 3.0,
    },
    "najarro_ABCD_lr_D_out_limited": {
        "cfg__rule": "ABCD_lr",
        "cfg__coefficient_columns": np.array(["B", "A", "C", "lr", "D"]),
        "cfg__environment_style": "bullet",
        "cfg__discrete_action": True,
        "cfg__action_low": np.full(2, -9.0),
    },
}


@pytest.mark.parametrize(
    ("name", "key", "value"), [(name, key, value) for name, keys in CHANGED.items() for key, value in keys.items()]
)
def test_every_option_is_read(
    name: str, key: str, value: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / f"{name}.npz", **(read(name) | {key: np.asarray(value)}))
    said(capsys, tmp_path / f"{name}.npz")


DUAN, ONLINE = "duan_hebbian_rnn_clip_active", "brainnet_online_multiplicative_no_cap"
REFUSED = {
    "a key less": (ONLINE, {"cfg__cap": None}, "there is no cfg__cap"),
    "an option nobody knows": (ONLINE, {"cfg__input_rule": True}, "no replay reads cfg__input_rule"),
    "an array nobody knows": (DUAN, {"step__y": np.zeros(3)}, "no replay reads step__y"),
    "an array less": (DUAN, {"step__h": None}, "there is no step__h"),
    "no such value": (DUAN, {"cfg__rnn": "GRU"}, "cfg__rnn must be one of RNN, LSTM, not 'GRU'"),
    "no such cap": (ONLINE, {"cfg__cap": 0}, "cfg__cap must be from 1 to 7, or -1 for no cap, not 0"),
    "no such term": ("shervani_fix_oja", {"cfg__terms": np.array(["oja"])}, "did you mean 'Oja'?"),
    "no words": ("shervani_fix_oja", {"cfg__terms": np.array([1])}, "cfg__terms must be a list of words"),
    "a wrong shape": (
        DUAN,
        {"input__x": np.zeros((7, 3, 4))},
        r"input__x must have the shape (7, 3, 5), not (7, 3, 4)",
    ),
    "a step too many": (DUAN, {"step__h": np.zeros((8, 3, 6))}, "step__h must have the shape (7, 3, 6), not (8, 3, 6)"),
    "a huge size": (ONLINE, {"cfg__epochs": 2**40}, "cfg__epochs must be an integer from 1 to 10000"),
    "single precision": (
        DUAN,
        {"init__h": np.zeros((3, 6), "f4")},
        "init__h must hold numbers of float64, not float32",
    ),
    "integers": (DUAN, {"init__h": np.zeros((3, 6), int)}, "init__h must hold numbers of float64, not int64"),
    "text": (DUAN, {"step__h": np.full((7, 3, 6), "x")}, "step__h must hold numbers, not <U1"),
    "NaN": (DUAN, {"step__h": np.full((7, 3, 6), np.nan)}, "step__h holds numbers that are not finite"),
    "infinity": (DUAN, {"cfg__weight_clip_nan_means_none": np.inf}, "holds numbers that are not finite"),
    "no label": (ONLINE, {"label": np.full(6, 3)}, "label must hold integers from 0 to 2"),
    "no mask": (ONLINE, {"mask__graph": np.full((7, 7), 0.5)}, "mask__graph must hold 0 and 1 only"),
    "not as reset": (ONLINE, {"cfg__start": "reset"}, "graph, outputs and bias__graph start at 1, which they do not"),
    "others fired": (
        "brainnet_forward_T1",
        {"step__fired_mask": np.ones((2, 5, 14), int)},
        "fired_mask must have 1 for as many units as win, the strongest of them",
    ),
    "two tables": (ONLINE, {"rule__output_flat": np.zeros(8)}, "rule__output_flat and the table of that rule must be"),
    "other columns": (
        "najarro_A_bullet",
        {"cfg__coefficient_columns": np.array(["B"])},
        "cfg__coefficient_columns must be those of cfg__rule A, not B",
    ),
    "objects": (DUAN, {"cfg__rnn": np.array([{}], object)}, "holds object, neither numbers nor words"),
}


@pytest.mark.parametrize(("name", "changes", "words"), REFUSED.values(), ids=list(REFUSED))
def test_arrays_that_cannot_be_read_fail_in_one_sentence(
    name: str, changes: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = read(name) | changes
    np.savez(tmp_path / f"{name}.npz", **{key: value for key, value in arrays.items() if value is not None})
    assert words in said(capsys, tmp_path / f"{name}.npz")


def swollen() -> bytes:
    """An archive with an array that says it is larger than all memory."""
    content, header = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)})
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("loss.npy", header.getvalue())
    return content.getvalue()


FILES = {
    "text": b"step__h: 1, 2, 3\n",
    "nothing": b"",
    "a truncated archive": WHERE[DUAN].read_bytes()[:5000],
    "a damaged archive": WHERE[DUAN].read_bytes()[:3000] + bytes(99) + WHERE[DUAN].read_bytes()[3099:],
    "a pickle": pickle.dumps({"loss": 0.0}),
    "an array that lies about its size": swollen(),
}


@pytest.mark.parametrize("content", FILES.values(), ids=list(FILES))
def test_files_that_are_no_trace_fail_in_one_sentence(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "duan_bad.npz").write_bytes(content)
    assert said(capsys, tmp_path / "duan_bad.npz")


def test_folders_and_files_are_taken_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in" / "it").mkdir(parents=True)
    good = WHERE["najarro_A_bullet"]
    (tmp_path / "in" / "it" / good.name).write_bytes(good.read_bytes())
    assert main([str(tmp_path / "in"), str(good)]) == 0
    assert [line.rsplit(", ")[-1] for line in capsys.readouterr().out.splitlines()] == ["ok", "ok"]
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "nobody_1.npz", loss=0.0)
    for name, words in {
        "empty": "no .npz file",
        "duan_1.npz": "there is no such file",
        "nobody_1.npz": "no replay for",
    }.items():
        assert words in said(capsys, tmp_path / name)
    assert main([str(tmp_path), str(good)]) == 1  # one failure does not end the rest
    assert capsys.readouterr().out.count("ok\n") == 2


def test_without_a_cap_codes_of_the_first_example_are_enough(tmp_path: Path) -> None:
    arrays = read("brainnet_forward_no_cap")
    np.savez(tmp_path / "brainnet_1.npz", **(arrays | {"firing_code": arrays["firing_code"][:1]}))
    assert not check(tmp_path / "brainnet_1.npz").misses


@pytest.mark.parametrize("bad", [np.nan, 1.0])
def test_a_damaged_value_fails_in_either_form(bad: float, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = duan._replay

    def damaged(trace: Any, rollout_form: bool) -> Any:
        values, gradients = honest(trace, rollout_form)
        if rollout_form:
            values["step__h"][-1, 0, 0] = bad
        return values, gradients

    monkeypatch.setattr(duan, "_replay", damaged)
    assert check(WHERE["duan_hebbian_rnn_clip_active"]).misses == ("step__h",)


def test_a_replay_that_breaks_is_a_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duan, "_agent", lambda trace: 1 / 0)
    assert main([str(WHERE["duan_hebbian_rnn_clip_active"])]) == 1
    assert "FAIL: the replay stopped, ZeroDivisionError: " in capsys.readouterr().out
