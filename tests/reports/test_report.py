"""The report: one file that opens offline, figures that hold something, and words that follow from the figures."""

import base64
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from evolution import Grid, RunSettings, report
from evolution.evaluation.references import EXPLANATIONS
from evolution.evaluation.statistics import Interval
from evolution.reports import reporting
from evolution.reports.experiment import read_experiment
from evolution.reports.plots import curves as plots
from evolution.reports.records import RunRecord
from evolution.reports.summary import Summary, short_names, summarise
from evolution.reports.tables import format_interval, format_number, markdown, rows
from evolution.reports.verdicts import headline, verdicts
from evolution.runs.history import HistoryRow
from evolution.runs.results import RunResult
from plastic_envs import make_task
from plastic_envs.core.task import Metric
from plastic_envs.tasks import TASKS
from plastic_envs.utils.errors import MissingExtraError, UsageError
from plastic_envs.worlds import WORLDS
from tests.helpers.in_process import compare
from tests.helpers.runs import TASK

IMAGES = "FewShotImageClassification,n_way=2"
GRID = Grid(
    (TASK, IMAGES), ("hebbian", "none"), ("backprop,batch_size=16", "tests.helpers.doomed:Diverging"), seeds=(0, 1),
    budget=160, hidden=4, eval_episodes=20, evals=2,
)  # fmt: skip
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "comparison"
    compare(GRID, folder, command="plastic-envs compare <as it was>")
    return report(folder)


def test_page_is_self_contained(page):
    text = page.read_text()
    assert "http://" not in text
    assert "https://" not in text
    assert "<script" not in text
    assert "<link" not in text
    sources = re.findall(r'src="([^"]*)"', text)
    assert 10 <= len(sources) <= 12  # of two tasks: curves, scores, learning rate, one or two sample episodes, weights
    assert all(base64.b64decode(source.removeprefix("data:image/png;base64,")).startswith(PNG) for source in sources)


def test_page_tells_settings_versions_command_and_what_failed(page):
    text = page.read_text()
    for expected in ("plastic-envs compare &lt;as it was&gt;", "batch_size=16", "diverged", "torch", "8 of 16 runs"):
        assert expected in text


def test_figures_hold_something(page):
    from matplotlib.image import imread

    figures = sorted((page.parent / "figures").glob("*.png"))
    vectors = sorted((page.parent / "figures").glob("*.svg"))
    assert [path.stem for path in figures] == [path.stem for path in vectors]
    assert all("<svg" in path.read_text() for path in vectors)
    assert {path.stem.rpartition("-")[2] for path in figures} >= {"learning", "scores", "rate", "episode"}
    for path in figures:
        assert path.read_bytes().startswith(PNG)
        assert imread(path)[..., :3].std() > 0.02


def test_report_of_a_single_run(page):
    run = page.parent / "runs" / TASK / "hebbian" / "backprop,batch_size=16" / "seed0"
    assert report(run) == run / "report.html"
    assert f"plastic-envs train {TASK} --rule hebbian" in (run / "report.html").read_text()


def test_names_in_a_folder_that_was_sent_are_text(page, tmp_path, monkeypatch):
    """A rule, a reference or a version that looks like a part of the page is shown as it is written."""
    monkeypatch.setattr(reporting, "_images", lambda *_: [])
    run, word = tmp_path / "run", "<script>alert(1)</script>"
    shutil.copytree(page.parent / "runs" / TASK / "none" / "backprop,batch_size=16" / "seed0", run)
    result = json.loads((run / "result.json").read_text())
    del result["run"]  # the mark of these settings, which whoever writes a folder can leave out
    (run / "result.json").write_text(json.dumps(result))
    for name, part in (("config.json", "none"), ("config.json", "torch"), ("result.json", "zero")):
        text = (run / name).read_text()
        assert f'"{part}"' in text
        (run / name).write_text(text.replace(f'"{part}"', json.dumps(word)))
    shown = report(run).read_text()
    assert "<script" not in shown
    assert shown.count("&lt;script&gt;") >= 3


def test_report_of_something_else(tmp_path):
    with pytest.raises(UsageError, match="neither a comparison"):
        report(tmp_path)
    (tmp_path / "compare.json").write_text("{nonsense")
    with pytest.raises(UsageError, match=r"compare\.json is damaged"):
        report(tmp_path)


def test_missing_matplotlib_names_the_extra(page, monkeypatch):
    monkeypatch.delattr("evolution.reports.plots.curves")
    monkeypatch.delitem(sys.modules, "evolution.reports.plots.curves")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"plastic-envs\[plots\]"):
        report(page.parent)


def test_code_in_a_folder_is_not_run_unless_trusted(page, tmp_path):
    (tmp_path / "compare.json").write_text(
        (page.parent / "compare.json").read_text().replace(TASK, "tests.helpers.user_code:RunningMean")
    )
    with pytest.raises(UsageError, match=r"--trust tests\.helpers\.user_code:RunningMean"):
        read_experiment(tmp_path)
    assert read_experiment(tmp_path, ["tests.helpers.user_code:RunningMean"]).summaries


def test_code_that_an_option_names_is_not_run_unless_trusted(tmp_path):
    source = "tests.helpers.user_code:stripes"
    grid = replace(GRID, tasks=(f"{IMAGES},source={source},rotate=false",), rules=("none",), searchers=("backprop",))
    compare(replace(grid, budget=1, seeds=(0,)), tmp_path / "comparison")
    with pytest.raises(UsageError, match=rf"--trust {source}"):
        read_experiment(tmp_path / "comparison")
    assert read_experiment(tmp_path / "comparison", [source]).trust == (source,)


@pytest.mark.parametrize("name", ["compare.json", "config.json", "result.json", "history.csv"])
@pytest.mark.parametrize("damage", ["", "[" * 100_000, "{}", "null", '{"format": 1}', "1" * 200_000])
def test_damaged_folders_are_one_sentence(name, damage, page, tmp_path):
    shutil.copytree(page.parent, tmp_path / "comparison")
    path = next((tmp_path / "comparison").rglob(name))
    path.write_text(damage)
    with pytest.raises(UsageError, match=re.escape(name)) as error:
        read_experiment(path.parent)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"metric": "low"},
        {"status": "done"},
        {"n_searched": None},
        {"seconds": None},
        {"references": [1]},
        {"references": {"zero": 10**400}},
        {"metric": 10**400},
        {"best": "x"},
    ],
)
def test_results_of_other_types_are_one_sentence(change, page, tmp_path):
    shutil.copytree(page.parent, tmp_path / "comparison")
    path = next((tmp_path / "comparison").rglob("result.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UsageError, match=r"result\.json is damaged"):
        read_experiment(tmp_path / "comparison")


def summary(
    scores: dict[tuple[str, str], list[float]],
    task: str = "CueReward",
    metric: Metric = "squared error",
    references: dict[str, float] | None = None,
    spread: float = 0.01,
) -> Summary:
    """A summary with final scores made up; `spread` is the half width of each evaluation's own interval."""
    known = {"zero": 0.333, "shrunken mean": 0.286, "oracle": 0.03, "best possible": 0.036, "chance": 0.333}
    held = known if references is None else references
    runs = []
    for (rule, searcher), values in scores.items():
        for seed, value in enumerate(values):
            result = RunResult(
                "finished", value, value - spread, value + spread, value, 100, 2000, 1.0, 1.0, 10,
                {name: one for name, one in held.items() if name not in ("chance", "best possible")},
                chance=held.get("chance"), best=held.get("best possible"),
            )  # fmt: skip
            settings = RunSettings(task, rule=rule, searcher=searcher, seed=seed)
            runs.append(RunRecord(Path("nowhere"), settings, "finished", result=result))
    return summarise(runs, {task: (metric, metric in ("accuracy", "reward"))})[0]


def test_rules_are_held_against_no_plasticity_on_their_own_network():
    made = summary({
        ("hebbian on a", "backprop"): [0.10, 0.11, 0.12],
        ("none on a", "backprop"): [0.28, 0.29, 0.30],
        ("hebbian on b", "backprop"): [0.20, 0.21, 0.22],
        ("none on b", "backprop"): [0.14, 0.15, 0.16],
    })  # fmt: skip
    text = verdicts(made)[0]
    assert "Against none on a: hebbian on a ahead by 0.180" in text
    assert "Against none on b: hebbian on b behind by 0.060" in text


def test_seconds_that_are_not_known_are_missing():
    made = summary({("hebbian", "backprop"): [0.1, 0.2]})
    runs = [replace(run, result=replace(run.result, seconds=float("nan"))) for run in made.cells[0].runs]
    unknown = replace(made, cells=(replace(made.cells[0], runs=tuple(runs)),))
    assert rows(unknown)[0][-1] == "–"


def test_a_comparison_without_runs_says_so(page, tmp_path):
    head = json.loads((page.parent / "compare.json").read_text())
    (tmp_path / "compare.json").write_text(json.dumps(head | {"runs": []}))
    assert "<li>This comparison names no runs.</li>" in report(tmp_path).read_text()


def test_words_when_intervals_separate():
    made = summary({
        ("hebbian", "backprop"): [0.10, 0.11, 0.12],
        ("none", "backprop"): [0.28, 0.29, 0.30],
        ("hebbian", "pgpe"): [0.20, 0.21, 0.22],
    })  # fmt: skip
    assert "beats no plasticity (none by backprop" in headline(made)
    text = "\n".join(verdicts(made))
    assert "Against none: hebbian ahead by 0.180 ± 0.023, separated." in text
    assert "the first ahead by 0.100 ± 0.023, separated" in text
    assert "beats shrunken mean (0.286) by more than its interval, the strongest of them" in text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e308])
def test_scores_that_are_not_finite_or_add_up_to_none_claim_nothing(value):
    made = summary({("hebbian", "backprop"): [value, value], ("none", "backprop"): [0.1, 0.2]}, metric="reward")
    assert "is not to be compared with" in headline(made)
    assert "hebbian not to be compared: a score is not finite" in verdicts(made)[0]


def test_verdicts_are_those_of_scipy():
    """Of many made-up comparisons: who is ahead, and whether Welch's interval excludes 0."""
    draws, found = np.random.default_rng(0), set()
    for _ in range(200):
        metric = draws.choice(["squared error", "reward"])
        sizes, places = draws.integers(2, 6, 2), draws.choice([0.2, 0.3, 0.8], 2)
        left, right = (place + 0.05 * draws.standard_normal(n) for place, n in zip(places, sizes, strict=True))
        made = summary({("hebbian", "backprop"): [*left], ("none", "backprop"): [*right]}, metric=metric)
        told = verdicts(made)[0].partition("Against none: hebbian ")[2]
        ahead = (left.mean() > right.mean()) == (metric == "reward")
        apart = stats.ttest_ind(left, right, equal_var=False).pvalue < 0.05
        assert told.startswith(("ahead by" if ahead else "behind by", "level (0"))  # which shows no digit but 0
        assert (", separated" in told) == apart
        found.add((ahead, apart))
    assert len(found) == 4


def test_words_when_they_do_not():
    made = summary({("hebbian", "backprop"): [0.1, 0.3], ("none", "backprop"): [0.28, 0.29]})
    assert "does not separate from no plasticity" in headline(made)
    assert "not separated" in verdicts(made)[0]
    assert "beats no one by more than its interval; the weakest of them is" in verdicts(made)[-1]
    assert "no plasticity rule does better" in headline(
        summary({("hebbian", "backprop"): [0.3, 0.31], ("none", "backprop"): [0.2, 0.21]})
    )
    near = headline(summary({("hebbian", "backprop"): [0.3, 0.31], ("none", "backprop"): [0.28, 0.29]}))
    assert "none by backprop" in near
    assert "does not separate from the best plasticity rule, hebbian by backprop: it is ahead by 0.020 ± 0.030" in near


def test_gradients_of_reward_are_gradients_and_one_s_own_searchers_are_neither():
    scores = {
        ("hebbian", "a2c"): [0.2, 0.21],
        ("hebbian", "evotorch.algorithms:Cosyne"): [0.3, 0.31],
        ("hebbian", "mine:Hill"): [0.1, 0.11],
    }
    text = "\n".join(verdicts(summary(scores)))
    assert "hebbian by a2c 0.205 ± 0.064 (2), hebbian by evotorch.algorithms:Cosyne 0.305" in text
    del scores["hebbian", "evotorch.algorithms:Cosyne"]
    assert "Gradients against evolution" not in "\n".join(verdicts(summary(scores)))


def test_a_single_run_is_not_called_the_best():
    said = headline(summary({("hebbian", "snes"): [0.1]}))
    assert said == (
        "CueReward: hebbian by snes: 0.100 (1), ahead of every reference (the strongest: shrunken mean, 0.286)."
    )


def test_equal_seeds_neither_separate_nor_lead():
    """Right in every episode, with every seed, against 0.2% less: there is no interval that could exclude 0."""
    made = summary({("hebbian", "pgpe"): [1.0, 1.0], ("none", "pgpe"): [0.998, 0.998]}, metric="accuracy")
    said = "\n".join([headline(made), *verdicts(made), markdown(made)])
    assert "better by 0.2%, the seeds of either side are all equal, so no interval" in said
    assert "the seeds of either side are all equal, so nothing is claimed" in said
    assert "100.0% ± – (2)" in said
    assert not re.search("separated|ahead|excludes 0|± 0", said)


@pytest.mark.parametrize(
    ("mine", "its", "words"),
    [
        ([0.998, 0.998], [0.998, float(np.float32(0.998))], "level."),
        ([1.0, 1.0], [1.0, 1.0], "level."),
        ([0.0, -0.0], [0.0, 0.0], "level."),
        ([0.9981], [0.9979], "level."),  # both show as 99.8%
        ([0.9, 0.91], [0.91, 0.9], "level (0.0 ± 3.0%, not separated)."),
        ([0.9], [0.8], "better by 10.0%, one seed on a side, so no interval."),
        ([0.8], [0.9, 0.91], "worse by 10.5%, one seed on a side, so no interval."),
        ([1.0, 1.0, 1.0], [0.9, 0.92, 0.91], "ahead by 9.0 ± 2.5%, separated."),
        ([0.9, 0.92, 0.91], [1.0, 1.0, 1.0], "behind by 9.0 ± 2.5%, separated."),
        ([0.9, 0.7], [0.6, 0.65], "ahead by 18 ± 101%, not separated."),
        ([float("nan"), 0.5], [0.6, 0.65], "not to be compared: a score is not finite."),
        ([float("inf"), 0.5], [0.6, 0.65], "not to be compared: a score is not finite."),
    ],
)
def test_a_verdict_for_every_constellation_of_seeds(mine, its, words):
    made = summary({("hebbian", "pgpe"): mine, ("none", "pgpe"): its}, metric="accuracy")
    assert f"Against none: hebbian {words}" in verdicts(made)[0]


def test_errors_that_are_nothing_beside_the_references_are_level():
    made = summary({("hebbian", "pgpe"): [1e-9, 1.1e-9, 1.2e-9], ("none", "pgpe"): [5e-9, 5.1e-9, 5.2e-9]})
    assert "hebbian level" in verdicts(made)[0]
    small = {"chance": 1e-8, "best possible": 0.0}
    made = summary({("hebbian", "pgpe"): [1e-9, 1.1e-9], ("none", "pgpe"): [5e-9, 5.1e-9]}, references=small)
    assert "hebbian ahead by 4.00e-09 ± 3.0e-10, separated" in verdicts(made)[0]


STANDINGS = {
    (0.1, 0.01): "beats shrunken mean (0.286) by more than its interval, the strongest of them; it is 0.0640 short of "
    "best possible (0.0360), 74% of the way there from shrunken mean.",
    (0.3, 0.005): "beats chance (0.333) by more than its interval, but not the next better one, shrunken mean (0.286), "
    "which it is behind; it is 0.264 short of best possible (0.0360).",
    (0.28, 0.01): "beats chance (0.333) by more than its interval, but not the next better one, shrunken mean (0.286), "
    "which it is not told apart from; it is 0.244 short of best possible (0.0360), 2% of the way there from shrunken "
    "mean.",
    (
        0.4,
        0.01,
    ): "beats no one by more than its interval; the weakest of them is chance (0.333), which it is behind; "
    "it is 0.364 short of best possible (0.0360).",
    (
        0.036,
        0.01,
    ): "beats shrunken mean (0.286) by more than its interval, the strongest of them; it is level with "
    "best possible (0.0360).",
    (0.034, 0.01): "beats shrunken mean (0.286) by more than its interval, the strongest of them; it is 0.00200 "
    "beyond best possible (0.0360).",
    (0.1, 0.0): "beats shrunken mean (0.286), the strongest of them; without an interval nothing is claimed; it is "
    "0.0640 short of best possible (0.0360), 74% of the way there from shrunken mean.",
    (0.286, 0.0): "beats chance (0.333), but not the next better one, shrunken mean (0.286), which it is level with; "
    "without an interval nothing is claimed; it is 0.250 short of best possible (0.0360).",
    (float("nan"), 0.1): "cannot be held against them: its score is not finite.",
}


@pytest.mark.parametrize(("score", "spread"), list(STANDINGS))
def test_one_run_is_held_against_the_references(score, spread):
    references = {"shrunken mean": 0.286, "oracle": 0.03, "best possible": 0.036, "chance": 0.333}
    said = verdicts(summary({("hebbian", "snes"): [score]}, spread=spread, references=references))[-1]
    assert said.startswith("Against the reference predictors (lower is better): hebbian by snes, ")
    assert said.endswith(STANDINGS[score, spread])


def test_one_run_for_reward_is_better_the_more_it_earns():
    references = {"random": 14.4, "oracle": 375.8}
    said = {
        score: verdicts(summary({("none", "a2c"): [score]}, metric="reward", references=references, spread=1.0))[-1]
        for score in (200.0, 14.0, 5.0, 400.0)
    }
    assert "(higher is better): none by a2c, 200 (1), one seed (199 to 201 by a 95% bootstrap" in said[200.0]
    assert said[200.0].endswith(
        "beats random (14.4) by more than its interval, the strongest of them; it is 176 short of oracle (376), 51% of "
        "the way there from random."
    )
    assert "the weakest of them is random (14.4), which it is not told apart from" in said[14.0]
    assert "the weakest of them is random (14.4), which it is behind" in said[5.0]
    assert said[400.0].endswith("it is 24.2 beyond oracle (376).")


def test_references_say_what_they_are():
    text = markdown(summary({("hebbian", "snes"): [0.1]}))
    assert "- zero 0.333: answers 0 at every step\n" in text
    assert "- oracle 0.0300: answers or acts as well as the task allows" in text
    assert "- best possible 0.0360: the mean over all possible episodes that no agent can pass" in text


@pytest.mark.parametrize("name", [*TASKS, *WORLDS])
def test_every_reference_of_the_package_is_explained(name):
    tasks = [make_task(name)]
    if name == "RepeatedGame":
        tasks.append(make_task("RepeatedGame,game=dilemma"))
    named = [name for task in tasks for name in (*getattr(task, "references", ()), *task.policies)]
    assert [name for name in named if name not in EXPLANATIONS] == []


def test_a_seed_gone_astray_does_not_press_the_others_onto_the_axis(tmp_path):
    made = summary({("hebbian", "backprop"): [0.1, 0.12, 0.11], ("none", "backprop"): [0.2, 0.21, 338.0]})
    with plots.figure(tmp_path / "scores.png", 4, 3) as canvas:
        axes = canvas.subplots()
        plots.scale(axes, made)
        plots.name_beyond(axes, list(made.cells))
        assert 0.21 < axes.get_ylim()[1] < 1
        assert [text.get_text() for text in axes.texts] == ["↑ 338"]


def test_specs_are_named_without_options_where_that_is_enough():
    assert short_names(["hebbian,rate=2", "none", "pgpe,popsize=8", "pgpe,popsize=16"]) == {
        "hebbian,rate=2": "hebbian", "none": "none", "pgpe,popsize=8": "pgpe,popsize=8",
        "pgpe,popsize=16": "pgpe,popsize=16",
    }  # fmt: skip


def test_a_control_ahead_with_one_seed_claims_nothing():
    made = summary({("hebbian", "backprop"): [0.3], ("none", "backprop"): [0.2]})
    assert "nothing is claimed" in headline(made)


def test_words_with_one_seed_claim_nothing():
    made = summary({("hebbian", "backprop"): [0.1], ("none", "backprop"): [0.3], ("hebbian", "pgpe"): [0.2]})
    assert "one seed on a side, so nothing is claimed" in headline(made)
    assert all("separated" not in text for text in verdicts(made))
    assert "0.100 (1)" in markdown(made)


def test_numbers_are_rounded_to_their_interval():
    assert format_interval(Interval(0.08123, 0.0102, 5), "squared error") == "0.081 ± 0.010 (5)"
    assert format_interval(Interval(0.613, 0.021, 5), "accuracy") == "61.3 ± 2.1% (5)"
    assert format_interval(Interval(0.0143, 0.0084, 5), "error rate") == "1.43 ± 0.84% (5)"
    assert format_interval(Interval(0.5, None, 1), "accuracy") == "50.0% (1)"
    assert format_interval(Interval(12.0, 3.0, 2), "reward", seeds=False) == "12.0 ± 3.0"
    assert format_number(1.034e37, "squared error") == "1.03e+37"


def test_runs_that_stopped_early_are_said_and_drawn(tmp_path):
    from evolution.reports.plots import curves as plots

    made = summary({("hebbian", "backprop"): [0.1, 0.2, 0.3]})
    *kept, last = made.cells[0].runs
    rows = tuple(HistoryRow(e, e, 0.0, 0.3, 0.2, 0.4, 0.3, e / 10, e / 10) for e in (0, 50, 100))
    runs = [replace(run, history=rows) for run in kept]
    runs.append(replace(last, history=(rows[0], replace(rows[1], metric=float("nan"))), status="diverged"))
    made = summarise(runs, {"CueReward": ("squared error", False)})[0]
    assert "(2), 1 diverged" in markdown(made)
    assert "hebbian by backprop: 1 of 3 seeds diverged" in markdown(made)
    sound = summary({("gradient", "backprop"): [0.4, 0.5]}).cells
    both = replace(made, cells=(*made.cells, *sound))
    assert both.best(both.cells) is sound[0]  # the better mean left a diverged seed out
    plots.learning_curves(made, tmp_path / "curves.png")
    plots.final_scores(made, tmp_path / "scores.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(PNG)
