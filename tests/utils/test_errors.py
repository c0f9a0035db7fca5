"""What is refused is also what Python code catches: the built-in class, and Python's own words."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import pytest

import agents
from evolution import RunSettings, load_run, make_searcher, train
from evolution.cli import main
from evolution.cli.descriptions import describe
from evolution.experiments.presets import preset
from plastic_envs import TASKS, MissingExtraError, TaskEnv, TaskVectorEnv, UsageError, make_task
from plastic_envs.data import load_data
from plastic_envs.utils import errors

CUE = make_task("CueReward,n_cues=2")

UNEXPECTED: dict[str, Callable[..., Any]] = {
    "make": lambda **given: gymnasium.make("plastic_envs/CueReward-v0", **given),
    "make_vec": lambda **given: gymnasium.make_vec("plastic_envs/CueReward-v0", num_envs=2, **given),
    "make_world": lambda **given: gymnasium.make("plastic_envs/Foraging-v0", **given),
    "TaskEnv": lambda **given: TaskEnv(CUE, **given),
    "TaskVectorEnv": lambda **given: TaskVectorEnv("CueReward", num_envs=2, **given),
    "make_task": lambda **given: make_task("CueReward", **given),
    "agents.make": lambda **given: agents.make(3, 2, **given),
    "make_for": lambda **given: agents.make_for(CUE, **given),
    "from_json": lambda **given: RunSettings.from_json({"task": "CueReward", **given}),
    "RunSettings": lambda **given: RunSettings("CueReward", **given),
    "make_searcher": lambda **given: make_searcher(
        "pgpe," + ",".join(f"{key}={value}" for key, value in given.items()), CUE, agents.make_for(CUE)
    ),
    "load_data": lambda **given: load_data(((0.0,), (1,)), **given),
    "gym": lambda **given: make_task("gym:CartPole-v1", **given),
}


@pytest.mark.parametrize("call", UNEXPECTED.values(), ids=UNEXPECTED.keys())
def test_a_keyword_that_is_not_taken_is_a_type_error_in_pythons_words(call: Callable[..., Any]) -> None:
    """TorchRL's GymEnv passes `frameskip`, and tries again without it on just these words."""
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'frameskip'"):
        call(frameskip=1)


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda: make_task("CueReward", n_cues="2"), TypeError),
        (lambda: gymnasium.make("plastic_envs/CueReward-v0", n_cues=2.5), TypeError),
        (lambda: make_task(None), TypeError),  # type: ignore[arg-type]
        (lambda: TaskEnv(7), TypeError),  # type: ignore[arg-type]
        (lambda: RunSettings.from_json({}), TypeError),
        (lambda: make_task("collections:Counter"), TypeError),
        (lambda: make_task("NoTask"), LookupError),
        (lambda: TASKS["NoTask"], KeyError),
        (lambda: preset("nothing"), KeyError),
        (lambda: describe("nothing"), KeyError),
        (lambda: make_task("no_such_module:Task"), ImportError),
        (lambda: make_task("json:Task"), ImportError),
        (lambda: agents.load("nowhere"), FileNotFoundError),
        (lambda: load_run("nowhere"), FileNotFoundError),
        (lambda: load_data("no/where"), OSError),
        (lambda: make_task("gym:no_such_module:Task-v0"), ImportError),
    ],
)
def test_a_refusal_is_of_the_built_in_class_too(call: Callable[[], Any], kind: type[Exception]) -> None:
    with pytest.raises(kind) as refused:
        call()
    assert isinstance(refused.value, UsageError)
    assert not str(refused.value).startswith(("'", '"'))  # a KeyError's is its repr


def test_an_occupied_folder_is_a_file_exists_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty"):
        train(RunSettings("CueReward"), tmp_path)


def test_tables_are_dicts_to_those_who_ask() -> None:
    assert TASKS.get("NoTask") is None


def test_the_command_line_speaks_to_people(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", "CueReward,n_cuess=2", "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert "n_cuess" in said
    assert "keyword argument" not in said


KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, UsageError)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_goes_through_pickle_and_is_made_of_its_sentence(kind: type[UsageError]) -> None:
    """As gymnasium.make, its asynchronous environments and Ray do."""
    for error in (kind("one sentence"), errors.UnknownOptionError("no option", "x"), MissingExtraError("it", "plots")):
        for again in (pickle.loads(pickle.dumps(error)), type(error)(str(error))):
            assert (type(again), str(again)) == (type(error), str(error))
        assert pickle.loads(pickle.dumps(error)).sentence == error.sentence
