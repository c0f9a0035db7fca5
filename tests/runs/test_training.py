"""Runs and their folders: what is written, what is refused, and in which words."""

import json
import math

import pytest
import torch

import agents
from evolution import Diverged, RunSettings, evaluate, load_run, train
from evolution.runs.history import COLUMNS
from plastic_envs.tasks import make_task
from plastic_envs.utils.errors import UsageError
from tests.helpers.runs import TASK, numbers, settings


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    seen = []
    result = train(settings(), folder, progress=seen.append)
    return folder, result, seen


def test_folder_holds_what_it_should(finished):
    folder, _, _ = finished
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "agent.json", "agent.safetensors", "checkpoint.pt", "config.json", "history.csv", "result.json", "steps.csv",
        "tensorboard",
    }  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    assert RunSettings.from_json(config["settings"]) == settings()
    assert {"python", "torch", "plastic-envs", "evotorch"} <= config["versions"].keys()


def test_history_has_a_row_before_the_first_step_and_one_per_evaluation(finished):
    folder, result, _ = finished
    assert (folder / "history.csv").read_text().splitlines()[0].split(",") == list(COLUMNS)
    rows = load_run(folder).history
    assert [row.episodes for row in rows] == [i * 64 for i in range(7)]
    assert all(row.env_steps == row.episodes * make_task(TASK).horizon for row in rows)
    assert math.isnan(rows[0].train_loss)
    assert all(math.isfinite(row.train_loss) for row in rows[1:])
    assert all(row.metric_low <= row.metric <= row.metric_high for row in rows)
    assert (result.metric, result.metric_low, result.loss) == (rows[-1].metric, rows[-1].metric_low, rows[-1].loss)


def test_agent_in_the_folder_has_the_scores_in_the_result(finished):
    folder, result, _ = finished
    run = load_run(folder)
    assert run.result == result
    again = evaluate(run.agent, make_task(run.settings.task), run.settings.eval_episodes)
    assert again.metric == result.metric
    assert again.interval == (result.metric_low, result.metric_high)
    assert again.references == result.references
    assert (result.chance, result.best) == (make_task(TASK).chance, make_task(TASK).best)


def test_progress_is_told_after_every_step(finished):
    _, result, seen = finished
    assert [progress.episodes for progress in seen] == [16 * i for i in range(1, 25)]
    assert all(progress.rate > 0 and progress.seconds_left >= 0 for progress in seen)
    assert seen[-1].metric == result.metric
    assert seen[-1].seconds_left == 0


def test_event_files_hold_the_history(finished):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder, _, _ = finished
    events = accumulator.EventAccumulator(str(folder / "tensorboard")).Reload()
    told = [(event.step, event.value) for event in events.Scalars("metric/held_out")]
    assert told == [(row.episodes, pytest.approx(row.metric)) for row in load_run(folder).history]


def test_train_loss_is_the_mean_over_the_steps_since_the_last_row(tmp_path):
    losses = []
    train(settings(evals=3), tmp_path / "run", progress=lambda progress: losses.append(progress.loss))
    rows = load_run(tmp_path / "run").history[1:]
    assert [row.train_loss for row in rows] == pytest.approx([sum(losses[i : i + 8]) / 8 for i in (0, 8, 16)])


def test_evaluation_is_the_mean_over_the_same_episodes_for_every_agent():
    task = make_task(TASK)
    agent = agents.make_for(task, hidden=4)
    first, again, other = evaluate(agent, task, 300), evaluate(agent, task, 300), evaluate(agent, task, 300, seed=1)
    assert first.scores.equal(again.scores)
    assert not first.scores.equal(other.scores)
    assert first.scores.shape == (300,)
    assert first.metric == pytest.approx(float(first.scores.mean()))
    another = evaluate(agents.make_for(task, hidden=6, seed=5), task, 300)
    assert another.references == first.references
    assert first.references.keys() == task.references.keys() | ({"oracle"} if task.oracle else set())


def test_evaluation_is_on_what_the_task_holds_out(monkeypatch):
    task = make_task(TASK)
    held_out = make_task(TASK)
    monkeypatch.setattr(task, "held_out", lambda: held_out, raising=False)
    monkeypatch.setattr(held_out, "metric", lambda outputs, episode: torch.full((len(episode.inputs[0]),), 7.0))
    assert evaluate(agents.make_for(task, hidden=4), task, 10, references=False).metric == 7


def test_diverged_run_says_so_and_keeps_the_last_good_agent(tmp_path):
    wild = settings("backprop,optimizer=sgd,learning_rate=1e30,clip=null")
    result = train(wild, tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert result.status == "diverged"
    assert run.result == result
    assert math.isnan(run.history[-1].metric)
    assert math.isfinite(result.metric)
    assert all(value.isfinite().all() for value in run.agent.parameters())
    before = numbers(tmp_path / "run")
    assert (
        train(settings("backprop,optimizer=sgd,learning_rate=1e30,clip=null"), tmp_path / "run", resume=True) == result
    )
    assert numbers(tmp_path / "run") == before


def test_generation_without_a_finite_fitness_is_a_diverged_run(tmp_path, monkeypatch):
    def step(self):
        raise Diverged("nothing finite")

    monkeypatch.setattr("evolution.searchers.evolutionary.evotorch_search.EvoTorchSearcher.step", step)
    assert train(settings("snes"), tmp_path / "run").status == "diverged"
    assert load_run(tmp_path / "run").history[-1].episodes == 0


def test_existing_run_is_never_overwritten_without_being_told_to(finished, tmp_path):
    folder = tmp_path / "run"
    train(settings(), folder)
    before = numbers(folder)
    with pytest.raises(UsageError, match=r"already holds a run: go on with --resume \(resume=True\), or replace it"):
        train(settings(seed=1), folder)
    assert numbers(folder) == before
    train(settings(seed=1), folder, overwrite=True)
    assert numbers(folder) != before
    train(settings(), folder, overwrite=True)
    assert numbers(folder) == before == numbers(finished[0])


def test_resume_with_other_settings_names_the_setting(finished):
    folder = finished[0]
    before = numbers(folder)
    with pytest.raises(UsageError, match="was started with seed=0, not seed=3"):
        train(settings(seed=3), folder, resume=True)
    with pytest.raises(UsageError, match="resume and overwrite exclude each other"):
        train(settings(), folder, resume=True, overwrite=True)
    assert numbers(folder) == before


@pytest.mark.parametrize("how", [{}, {"resume": True}, {"overwrite": True}])
def test_folder_that_is_not_a_run_is_left_alone(how, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="is not empty and not a run folder"):
        train(settings(), tmp_path, **how)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(UsageError, match="is a file, not a folder"):
        train(settings(), tmp_path / "thesis.tex", **how)
    with pytest.raises(UsageError, match="Not a directory"):
        train(settings(), tmp_path / "thesis.tex" / "run", **how)
    with pytest.raises(UsageError, match="is not a run folder"):
        load_run(tmp_path)


def test_read_only_folder_is_one_sentence(tmp_path, monkeypatch):
    def mkdir(self, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", mkdir)
    with pytest.raises(UsageError, match="Permission denied; what was written before is kept"):
        train(settings(), tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"budget": 0}, "budget must be an integer of at least 1, not 0"),
        ({"budget": 1.5}, "budget must be an integer"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
        ({"seed": True}, "seed must be an integer"),
        ({"searched": "*"}, "searched must be a list of name patterns"),
        ({"cell": 3}, "cell must be a name, not 3"),
        ({"agent_options": 3}, "agent_options must be a mapping"),
    ],
)
def test_bad_setting_is_one_sentence(changes, words):
    with pytest.raises(UsageError, match=words):
        settings(**changes)


@pytest.mark.parametrize(
    "changes", [{"rule": "hebian"}, {"cell": "gru"}, {"searcher": "bakprop"}, {"searched": ["nothing"]}]
)
def test_bad_settings_leave_no_trace(changes, tmp_path):
    with pytest.raises(UsageError):
        train(settings(**changes), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_settings_go_through_json():
    given = settings("pgpe", searched=["a*", "b"], agent_options={"modulated": True})
    text = json.dumps(given.to_json())
    assert RunSettings.from_json(json.loads(text)) == given
    assert given.difference(given) is None
    with pytest.raises(UsageError, match="unknown setting 'colour'"):
        RunSettings.from_json(given.to_json() | {"colour": 1})
    with pytest.raises(UsageError, match="'task' is missing"):
        RunSettings.from_json({})
