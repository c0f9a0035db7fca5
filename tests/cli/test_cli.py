"""The command line: every command end to end, and one clear line for whatever a user can get wrong."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from agents import CELLS, FRONT_ENDS, NETWORKS, RULES
from evolution import PRESETS, SEARCHERS, RunProgress, RunSettings, load_run
from evolution.cli import COMMANDS, main
from evolution.experiments.estimate import Cost
from plastic_envs.data import DATA
from plastic_envs.tasks import TASKS
from plastic_envs.utils.registry import tell_renamed
from plastic_envs.worlds import WORLDS
from tests.helpers import in_process
from tests.helpers.runs import TASK

TRAIN = f"train {TASK} --hidden 4 --budget 160 --evals 2 --eval-episodes 20 --searcher backprop,batch_size=16"


def plastic_envs(text, *words):
    """Run a command given as one text, with words appended that need no quoting."""
    return main([*shlex.split(text), *map(str, words)])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert plastic_envs(TRAIN, "--out", folder) == 0
    return folder


def test_help_and_version_do_not_wait_for_torch():
    code = "import sys, evolution.cli as cli\ntry: cli.main(sys.argv[1:])\nfinally: assert 'torch' not in sys.modules"
    for option in ("--help", "--version"):
        done = subprocess.run([sys.executable, "-c", code, option], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(("usage: plastic-envs", "plastic-envs "))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"plastic-envs {command}" in capsys.readouterr().out


def test_list(capsys):
    assert main(["list", "--json"]) == 0
    names = json.loads(capsys.readouterr().out)
    registries = {
        "tasks": TASKS, "worlds": WORLDS, "data sets": DATA,
        "rules": RULES, "networks": NETWORKS, "cells": CELLS, "searchers": SEARCHERS,
        "front ends": FRONT_ENDS, "presets": PRESETS,
    }  # fmt: skip
    assert names["tasks"].pop("gym:id")
    assert {kind: set(rows) for kind, rows in names.items()} == {kind: set(rows) for kind, rows in registries.items()}
    assert all(isinstance(summary, str) and summary for rows in names.values() for summary in rows.values())
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for rows in names.values() for name in rows)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("CueReward", ["CueReward (task)", "n_cues = 5", "Observation Space"]),
        ("self-modulated", ["hidden = 128", "rate = 0.1", "p_lr", "Duan"]),
        ("oja", ["eta = 0.01", "Miconi"]),
        ("pgpe", ["popsize = 64", "algorithm = PGPE"]),
        ("backprop", ["learning_rate = 0.001", "clip = 5.0", "schedule = null"]),
        ("digits", ["1,797"]),
        ("Foraging", ["Foraging (world)", "poison = 1.0", "Observation Space"]),
    ],
)
def test_list_tells_all_about_a_name(name, told, capsys):
    assert main(["list", name]) == 0
    printed = capsys.readouterr().out
    assert [part for part in told if part not in printed] == []
    assert "searched =" not in printed


def test_every_name_can_be_described(capsys):
    for registry in (TASKS, WORLDS, DATA, RULES, NETWORKS, CELLS, FRONT_ENDS, SEARCHERS):
        for name in registry:
            assert main(["list", name]) == 0
            assert registry[name].summary in capsys.readouterr().out


def test_list_of_an_old_name_tells_about_the_new_one(capsys, caplog):
    tell_renamed.cache_clear()
    assert main(["list", "cap"]) == 0
    assert capsys.readouterr().out.startswith("kwta (network): ")
    assert [record.getMessage() for record in caplog.records] == [
        "network 'cap' is called 'kwta' now; the old name goes with the next release"
    ]
    assert main(["list"]) == 0
    assert not {"cap", "random-network"} & {*capsys.readouterr().out.split()}


def test_list_of_an_unknown_name_is_one_sentence(capsys):
    assert main(["list", "15"]) == 0
    assert "It holds if at the end of the budget" in capsys.readouterr().out
    assert main(["list", "memory"]) == 0
    assert capsys.readouterr().out.startswith("memory (preset): 30 runs")
    assert main(["list", "Nobody"]) == 2
    assert "nothing called 'Nobody'" in capsys.readouterr().err


def test_a_diverged_run_says_what_to_try(tmp_path, capsys):
    words = ["train", "CueReward", "--searcher", "tests.helpers.doomed:Diverging", "--hidden", "4", "--budget", "200"]
    assert main([*words, "--eval-episodes", "10", "--out", str(tmp_path / "run")]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("diverged:")
    assert "a lower learning_rate" in printed.err


def test_train_prints_its_result_and_can_go_on_or_begin_again(run, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    for extra in ("--resume", "--overwrite"):
        assert plastic_envs(TRAIN, "--out", folder, extra) == 0
        printed = capsys.readouterr()
        assert printed.out.startswith("finished: squared error 0.")
        assert "bootstrap over episodes" in printed.out
        assert "  zero:          0." in printed.out
        assert "\r" not in printed.err
        assert "to go on with" not in printed.err
    assert plastic_envs("train --resume --out", folder) == 0  # what is here knows its settings
    assert capsys.readouterr().out.startswith("finished: squared error 0.")
    assert plastic_envs("train --resume --seed 7 --out", folder) == 2
    assert "was started with seed=0, not seed=7" in capsys.readouterr().err
    assert plastic_envs(TRAIN, "--out", tmp_path / "typo", "--resume") == 0
    assert f"there is no run in {tmp_path / 'typo'} to go on with, so a new one begins\n" in capsys.readouterr().err
    assert (folder / "agent.safetensors").read_bytes() == (run / "agent.safetensors").read_bytes()


def test_a_run_is_repeated_from_its_config(run, tmp_path, capsys):
    again = tmp_path / "again"
    assert plastic_envs("train --config", run / "config.json", "--out", again) == 0
    assert (again / "agent.safetensors").read_bytes() == (run / "agent.safetensors").read_bytes()
    assert (again / "config.json").read_bytes() == (run / "config.json").read_bytes()
    assert "not as in" not in capsys.readouterr().err
    assert plastic_envs("train --seed 1 --config", run / "config.json", "--out", tmp_path / "other") == 0
    assert f"not as in {run / 'config.json'}, which has seed=0, not seed=1" in capsys.readouterr().err
    assert load_run(tmp_path / "other").settings == replace(load_run(run).settings, seed=1)


def test_what_a_run_was_made_with_is_recorded_and_told_when_it_differs(run, tmp_path, capsys, monkeypatch):
    (tmp_path / "ownrule.py").write_text(
        "import ownhelper\nfrom agents import Rule\n\n\nclass Still(Rule):\n    needs = frozenset()\n"
    )
    (tmp_path / "ownhelper.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    words = f"{TRAIN} --rule ownrule:Still --out {tmp_path / 'run'}"
    assert plastic_envs(words) == 0
    config = tmp_path / "run" / "config.json"
    made = json.loads(config.read_text())["code"]
    assert made["plastic-envs"].startswith(("commit ", "version "))
    assert sorted(made) == ["ownhelper", "ownrule:Still", "plastic-envs"]
    assert made["ownrule:Still"].startswith("sha256 ")
    capsys.readouterr()
    assert plastic_envs("train --config", config, "--out", tmp_path / "again") == 2
    assert "--trust ownrule:Still" in capsys.readouterr().err
    for name in ("ownrule", "ownhelper"):
        del sys.modules[name]
    assert plastic_envs(f"{words} --resume") == 0  # by a process that has not loaded them yet
    assert "numbers may differ" not in capsys.readouterr().err
    with (tmp_path / "ownrule.py").open("a") as file:
        file.write("# changed\n")
    assert plastic_envs("train --trust ownrule:Still --config", config, "--out", tmp_path / "again") == 0
    told = f"warning: ownrule:Still was {made['ownrule:Still']} when the run began and is sha256 "
    assert told in capsys.readouterr().err
    (tmp_path / "ownhelper.py").write_text("changed = True")
    assert plastic_envs(f"{words} --resume") == 0
    said = capsys.readouterr().err
    assert told in said
    assert f"warning: ownhelper was {made['ownhelper']} when the run began" in said
    monkeypatch.setattr("evolution.runs.provenance.package_code", lambda: "commit 0+dirty")
    assert plastic_envs(TRAIN, "--resume", "--out", run) == 0
    assert "is commit 0+dirty now: numbers may differ" in capsys.readouterr().err


def test_options_reach_the_settings(run):
    settings = load_run(run).settings
    assert settings == RunSettings(
        TASK, hidden=4, budget=160, evals=2, eval_episodes=20, searcher="backprop,batch_size=16"
    )


def test_evaluate_on_its_task_and_on_another(run, capsys):
    assert plastic_envs("evaluate", run, "--episodes", 20) == 0
    text = capsys.readouterr().out
    assert [line.split()[0] for line in text.splitlines()[1:]][:3] == ["agent:", "chance:", "zero:"]
    assert plastic_envs("evaluate --json --task SequenceReproduction,seq_length=2,delay=1", run, "--episodes", 30) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["task"] == "SequenceReproduction,seq_length=2,delay=1"
    assert told["episodes"] == 30
    low, high = told["interval"]["ends"]
    assert low <= told["mean"] <= high
    assert "zero" in told["references"]


def test_one_episode_has_no_interval_and_the_json_is_json(run, capsys):
    assert plastic_envs("evaluate", run, "--episodes", 1) == 0
    assert "(no interval)" in capsys.readouterr().out
    assert plastic_envs("evaluate", run, "--episodes", 1, "--json") == 0
    given = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert given["interval"]["ends"] == [None, None]


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("can't allocate memory: 8 PB"), OSError(28, "disk full")]
)
def test_what_the_machine_refuses_is_one_line(error, capsys, monkeypatch):
    def refuse(args):
        raise error

    monkeypatch.setattr("evolution.cli.list.run", refuse)
    assert main(["list"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("plastic-envs: error: ")
    assert printed.count("\n") == 1


def test_evaluate_an_agent_that_was_passed_on(run, tmp_path, capsys):
    for name in ("agent.json", "agent.safetensors"):
        shutil.copy(run / name, tmp_path)
    assert plastic_envs("evaluate", tmp_path) == 2
    assert "--task" in capsys.readouterr().err
    assert plastic_envs(f"evaluate --episodes 5 --task {TASK}", tmp_path) == 0


def test_compare_then_report(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("evolution.experiments.comparison.run_isolated", in_process.run_in_process)
    words = f"compare --tasks {TASK} --rules none --searchers backprop,batch_size=16 --seeds 2 --budget 96 --hidden 4"
    words += " --evals 1 --eval-episodes 20 --jobs 1"
    folder = tmp_path / "out"
    assert plastic_envs(words, "--out", folder) == 0
    printed = capsys.readouterr()
    assert (folder / "table.md").read_text() == printed.out
    assert "| none | " in printed.out
    assert "run 2 of 2" in printed.err
    head = json.loads((folder / "compare.json").read_text())
    assert head["command"].startswith(f"plastic-envs compare --tasks {TASK} --rules none")
    assert plastic_envs("report", folder) == 0
    assert capsys.readouterr().out.strip() == str(folder / "report.html")


def test_dry_run_costs_little_and_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("evolution.experiments.estimate.SECONDS", 0.1)
    words = f"compare --preset quick --tasks {TASK} --seeds 3 --hidden 4 --dry-run --jobs 2"
    words += " --searchers backprop"
    assert plastic_envs(words, "--out", tmp_path / "out") == 2  # its two grids now want the same folders
    assert "folders of their own" in capsys.readouterr().err
    words = f"compare --tasks {TASK} --rules hebbian,none --searchers backprop --seeds 3 --dry-run --jobs 2"
    assert plastic_envs(words) == 0
    *cells, total = capsys.readouterr().out.splitlines()
    assert len(cells) == 2
    assert "parameters searched" in cells[0]
    assert total.startswith("6 runs: about ")
    assert total.endswith(" MB")
    assert plastic_envs(TRAIN, "--dry-run", "--out", tmp_path / "out") == 0
    assert not (tmp_path / "out").exists()
    six = "train Foraging,n_agents=6,length=5 --searcher pgpe,episodes=6,popsize=2 --eval-episodes 600 --hidden 4"
    assert plastic_envs(six, "--dry-run", "--out", tmp_path / "out") == 0  # 128 episodes are no whole worlds


WRONG = {
    "train CueRewrd --out DIR": "did you mean 'CueReward'",
    "train CueReward --rule hebian --out DIR": "did you mean 'hebbian'",
    "train CueReward --network LSTM --out DIR": "'LSTM': that is a cell, as in self-modulated,cell=lstm; choose",
    "train CueReward --rule pgpe --out DIR": "unknown rule 'pgpe': that is a searcher; choose from",
    "train CueReward --searcher bakprop --out DIR": "did you mean 'backprop'",
    "train CueReward --cell lsmt --out DIR": "did you mean 'lstm'",
    "train CueReward,n_cues --out DIR": "name,key=value",
    "train CueReward,n_cues=3,n_cues=4 --out DIR": "gives n_cues twice",
    "train CueReward,cues=3 --out DIR": "did you mean 'n_cues'",
    "train CueReward --rule hebbian,rat=3 --out DIR": "did you mean 'rate'",
    "train CueReward --searcher backprop,batchsize=3 --out DIR": "did you mean 'batch_size'",
    "train gym:Pendulum-v1,set_mass=3 --out DIR": "'gym:Pendulum-v1' with set_mass=3: there is no number 'mass'",
    "train gym:CartPole-v1 --out RUN --resume": "was started with",
    "train CueReward --searched fast.* --out DIR": "matches none",
    "train CueReward --hidden many --out DIR": "argument --hidden: 'many' is no whole number",
    "train CueReward --hidden 0 --out DIR": "hidden must be an integer of at least 1",
    "train CueReward --budget -5 --out DIR": "budget must be",
    "train nowhere:Task --out DIR": "no module 'nowhere'",
    "train CueReward": "--out is missing",
    "train CueReward --out RUN": "already holds a run",
    "train CueReward --out RUN --resume": "was started with",
    "train CueReward --out RUN --resume --overwrite": "exclude each other",
    "train": "TASK is missing",
    "train --config MISSING --out DIR": "cannot read",
    "train --config DAMAGED/config.json --out DIR": "config.json is damaged",
    "train CueReward --hidden 1000000000 --out DIR": "more memory than this machine has",
    "train os:system --out DIR": "missing a required argument",
    "evaluate MISSING": "there is no folder ",
    "evaluate MISPELT": "/first?",
    "evaluate COMPARISON": "is a comparison: there is no agent here (agent.json is missing); name ",
    "rule COMPARISON": "/runs/a/b/c/seed0, one of 2 below it",
    f"transfer COMPARISON --tasks {TASK} --out DIR": "is a comparison: there is no agent here",
    "evaluate FILE": "is a file: name the folder",
    "evaluate DAMAGED": "agent.json",
    "evaluate RUN --task CueReward": "they must agree",
    "evaluate RUN --episodes 0": "episodes must be",
    "compare --rules none --searchers backprop --out DIR": "--tasks is missing",
    "compare --preset quik --out DIR": "did you mean 'quick'",
    "compare --preset quick --seeds 0 --out DIR": "--seeds '0'",
    "compare --preset quick --jobs 0 --out DIR": "jobs must be",
    "compare --tasks CueReward CueReward --rules none --searchers backprop --out DIR": "twice",
    "compare --tasks CueReward --rules none --searchers backprop --out RUN": "is not empty",
    "compare --tasks CueReward --rules none --searchers backprop --out FILE": "is a file",
    "compare --tasks CueReward --rules none --searchers backprop --out FILE/below": "cannot write",
    "report MISSING": "there is no folder ",
    "report FILE": "is a file: name the folder",
    "report COMPARISON/runs": "neither a comparison (compare.json) nor a run (config.json) here",
    "report DAMAGED": "config.json is damaged",
    "reprot RUN": "unknown command 'reprot': did you mean 'report'?",
    "train CueReward --bugdet 100 --out DIR": "unknown option --bugdet, did you mean --budget? (see plastic-envs train",
    "train CueReward --preset quick --out DIR": "unknown option --preset (compare has it) (see plastic-envs train",
    "train CueReward --seeds 3 --out DIR": "unknown option --seeds, did you mean --seed? (compare has it)",
    "train CueReward;n_cues=2 --out DIR": "unknown task 'CueReward;n_cues=2': did you mean 'CueReward,n_cues=2'?",
    "train CueReward --rule oja:eta=2 --out DIR": "did you mean 'oja,eta=2'?",
    "train plastic_envs/CueReward-v0 --out DIR": "did you mean 'CueReward'?",
    "train CueReward --searcher cmaes,popsize=x --out DIR": "popsize must be an integer of at least 2, not 'x'",
    "train CueReward --out EMPTY": "'' names nothing: is a variable of the shell unset? (see plastic-envs train",
    "train CueReward --zzz 100 --out DIR": "unknown option --zzz (see plastic-envs train --help)",
    "train CueReward more --out DIR": "'more' is a word too many",
    "train CueReward --seed 1 --seed 2 --out DIR": "--seed is given twice, 1 and 2",
    "train CueReward --budget 1.5 --out DIR": "--budget: '1.5' is no whole number",
    "train CueReward --budget 1e400 --out DIR": "--budget: '1e400' is no whole number",
    "train CueReward --budget nan --out DIR": "--budget: 'nan' is no whole number",
    "train CueReward,n_cues=2.5 --out DIR": "n_cues must be an integer of at least 1, not 2.5",
    "train CueReward,n_cues=1e400 --out DIR": "n_cues must be an integer of at least 1, not inf",
    "train cuereward --out DIR": "error: unknown task 'cuereward': did you mean 'CueReward'? (choose",
    "train Foraging,horizon=5 --searcher pgpe --out DIR": "Foraging has no option 'horizon': choose from size",
    "train GridMaze,size=5 --out DIR": "as in plastic-envs train GridMaze,size=5 --searcher a2c --out ",
    "train gym:Pendulum-v1 --hidden 4 --searcher backprop --out DIR": "Pendulum-v1 --hidden 4 --searcher a2c --out ",
    "compare --tasks A --tasks B --rules none --rules none --searchers pgpe --out DIR": "rules names 'none' twice",
    f"transfer oja --tasks {TASK} --networks plastic-rn --out DIR": "did you mean 'plastic-rnn'",
    f"transfer oja --tasks {TASK} --networks plastic-rnn,hiden=3 --out DIR": "did you mean 'hidden'",
    "train --config DAMAGED/config.json --config FILE --out DIR": "--config is given twice",
    "evaluate RUN --episodes 1e2 --episodes 50": "--episodes is given twice",
    "train CueReward --out ./\udcff": "is not UTF-8",
    "list \udcff": "is not UTF-8",
    "": "COMMAND",
}


@pytest.mark.parametrize("words", WRONG)
def test_what_is_wrong_is_said_in_one_line(words, run, tmp_path, capsys):
    damaged = tmp_path / "damaged"
    shutil.copytree(run, damaged)
    for name in ("config.json", "agent.json"):
        (damaged / name).write_text("{nonsense")
    places = {"RUN": run, "MISSING": tmp_path / "missing", "DAMAGED": damaged, "DIR": tmp_path / "new"}
    comparison = tmp_path / "comparison"
    for seed in range(2):
        (comparison / f"runs/a/b/c/seed{seed}").mkdir(parents=True)
        (comparison / f"runs/a/b/c/seed{seed}" / "agent.json").touch()
    (comparison / "compare.json").touch()
    (tmp_path / "first").mkdir()
    places |= {
        "EMPTY": "",
        "COMPARISON": comparison,
        "COMPARISON/runs": comparison / "runs",
        "MISPELT": tmp_path / "frist",
    }
    places |= {"EMPTY": "", "DAMAGED/config.json": damaged / "config.json"}
    places |= {"FILE": run / "config.json", "FILE/below": run / "config.json" / "below"}
    before = {path: os.stat(path).st_mtime_ns for path in run.iterdir()}
    try:
        status = main([str(places.get(word, word)) for word in words.split()])
    except SystemExit as ended:  # argparse's way
        status = ended.code
    printed = capsys.readouterr()
    assert status == 2
    assert printed.out == ""
    assert printed.err.startswith("plastic-envs: error: ")
    assert printed.err.count("\n") == 1
    assert WRONG[words] in printed.err
    assert not places["DIR"].exists()
    assert {path: os.stat(path).st_mtime_ns for path in run.iterdir()} == before


def test_repeated_lists_add_up_and_numbers_are_written_in_any_way(capsys, monkeypatch):
    words = (
        f"compare --tasks {TASK} --rules hebbian --rules none,oja --rules gradient --searchers backprop,batch_size=4"
    )
    words += " --seeds 3 --seeds 5 --budget 1e2 --hidden 4 --dry-run --jobs 1 --eval-episodes 1_0"
    monkeypatch.setattr("evolution.experiments.estimate.measure", lambda settings: Cost(1.0, 1.0, settings.budget))
    assert plastic_envs(words) == 0
    *cells, total = capsys.readouterr().out.splitlines()
    assert [line.split(" by ")[0].split(", ")[1] for line in cells] == ["hebbian", "none", "oja", "gradient"]
    assert all("2 × 100 episodes" in line for line in cells)
    assert total.startswith("8 runs")


def test_a_reader_that_stops_and_a_terminal_without_letters():
    command = [sys.executable, "-m", "plastic_envs", "list"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    done = subprocess.run([*command, "memory"], capture_output=True, env=environment)
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert "a ± b – c ß".encode("ascii", "plastic-envs") == b"a +- b - c ?"


def test_reward_is_told_where_there_is_no_loss():
    of = {"episodes": 1, "budget": 2, "loss": -3.5, "metric": 0.0, "seconds": 1.0, "rate": 1.0}
    assert RunProgress(**of).told == "loss -3.5"
    assert RunProgress(**of, pays_reward=True).told == "reward 3.5"


def test_ctrl_c_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr("evolution.cli.list.run", _interrupt)
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "plastic-envs: interrupted\n"


def _interrupt(args):
    raise KeyboardInterrupt
