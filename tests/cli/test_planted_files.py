"""Commands in a folder that one was sent: nothing in it runs, whatever its files are called."""

import contextlib
import importlib.util
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import agents
from evolution import train
from evolution.cli import main
from plastic_envs import UsageError, make_task
from plastic_envs.utils.registry import check_trusted, load_object, own_code
from plastic_envs.utils.working_directory import import_own
from tests.helpers.runs import TASK, settings

INSTALLED = (
    "numba llvmlite torch numpy scipy pandas gymnasium safetensors evotorch ray cloudpickle matplotlib PIL sympy"
)
OTHERS = f"{INSTALLED} yaml stable_baselines3 pettingzoo pooch tensorboard triton sklearn jinja2 fsspec psutil pygame"
OUR_OWN = "plastic_envs agents evolution sitecustomize usercustomize"
PYTHONS = (
    "json pickle csv re random logging dataclasses multiprocessing signal socket struct selectors typing html inspect "
    "argparse contextlib enum functools shutil tempfile zipfile base64 heapq runpy pkgutil copyreg string abc"
)
GROUPS = "gymnasium.envs numba_extensions torch.backends matplotlib.backend tensorboard_plugins"
SETTINGS = {
    ".numba_config.yaml": "cache_dir: cache\ncache_locator_classes: evil.Evil\n",
    "matplotlibrc": "backend: module://evil\nfont.size: 40\n",
    "evil-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n",
    "evil-1.0.dist-info/entry_points.txt": "".join(f"[{group}]\nevil = evil:Evil\n" for group in GROUPS.split()),
}


def plant(folder, modules):
    """Put modules into a folder that leave their name when they are run, and files that name one."""
    for name in [*modules, "evil"]:
        (folder / f"{name}.py").write_text(f"open({str(folder / 'ran')!r}, 'a').write('{name} ')\nclass Evil: pass\n")
    for name, text in SETTINGS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


def call(folder, *words, module=None):
    """Run the command line there as a user does; what it says, and what of the folder has run."""
    script = ["-c", "import sys; from evolution.cli import main; sys.exit(main())"]
    start = [Path(sys.executable).parent / "plastic-envs"]
    if module is not None:
        start = [sys.executable, "-m", module]
    elif not start[0].exists():
        start = [sys.executable, "-P", *script]
    done = subprocess.run([*start, *words], cwd=folder, capture_output=True, text=True, check=False)
    ran = (folder / "ran").read_text() if (folder / "ran").exists() else ""
    return done, ran


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sent")
    train(settings("snes", budget=32, evals=1), folder / "run")
    return folder / "run"


@pytest.mark.parametrize("words", [["evaluate", ".", "--episodes", "8"], ["report", "."]], ids=["evaluate", "report"])
def test_a_run_folder_that_one_was_sent_runs_nothing(run, words):
    plant(run, f"{OTHERS} {OUR_OWN} {PYTHONS}".split())
    done, ran = call(run, *words)
    assert (done.returncode, ran) == (0, ""), done.stderr
    assert not (run / "cache").exists()


def test_workers_in_such_a_folder_run_nothing_of_it(tmp_path):
    """A process is spawned by `python -c`, which looks for modules in the working directory first."""
    plant(tmp_path, f"{OTHERS} {OUR_OWN} {PYTHONS}".split())
    small = f"--tasks {TASK} --rules hebbian --searchers backprop,batch_size=4 --budget 4 --evals 1 --eval-episodes 4"
    done, ran = call(tmp_path, "compare", *small.split(), "--jobs", "1", "--out", "out")
    assert (done.returncode, ran) == (0, ""), done.stderr


def test_the_module_is_run_without_what_lies_here(run):
    """`python -m` puts the working directory first; what Python itself imports before us is its own affair."""
    for name in f"{OUR_OWN} {PYTHONS}".split():
        (run / f"{name}.py").unlink(missing_ok=True)
    plant(run, OTHERS.split())
    done, ran = call(run, "evaluate", ".", "--episodes", "8", module="evolution.cli")
    assert (done.returncode, ran) == (0, ""), done.stderr


def test_code_of_ones_own_is_found_here_after_what_is_installed(tmp_path):
    plant(tmp_path, f"{INSTALLED} {OUR_OWN} {PYTHONS}".split())
    code = "import helper\nfrom plastic_envs.tasks.cue_reward import CueReward as Mine\n"
    (tmp_path / "mine.py").write_text(code)
    (tmp_path / "helper.py").write_text("")
    small = "--hidden 2 --searcher backprop,batch_size=4 --budget 4 --evals 1 --eval-episodes 4"
    done, ran = call(tmp_path, "train", "mine:Mine", *small.split(), "--out", "out")
    assert (done.returncode, ran) == (0, ""), done.stderr


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory that is not on the module path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    return tmp_path


def test_names_of_the_package_never_look_here(here, monkeypatch):
    (here / "planted.py").write_text("raise SystemExit")
    make_task("CueReward")
    agents.make(3, 2)
    assert str(here) not in sys.path
    with pytest.raises(ModuleNotFoundError):
        __import__("planted")


def test_a_module_that_is_nowhere_leaves_the_path_as_it_was(here):
    before = list(sys.path)
    with pytest.raises(ModuleNotFoundError):
        import_own("nowhere_at_all")
    assert sys.path == before


def test_what_is_installed_wins_and_the_refusal_says_so(here):
    (here / "calendar.py").write_text("class Task: pass")
    with pytest.raises(ImportError, match="has no 'Task'; that of the working directory has the name of an installed"):
        make_task("calendar:Task")


def test_the_module_of_an_environment_is_found_here_by_its_name(here):
    (here / "has_one.py").write_text("from gymnasium.envs.classic_control import CartPoleEnv as Pole")
    (here / "registers_one.py").write_text(
        "import gymnasium\ngymnasium.register('registered_here/Pole-v0', 'has_one:Pole', max_episode_steps=5)\n"
    )
    assert make_task("gym:registers_one:registered_here/Pole-v0").horizon == 5


def test_only_code_of_ones_own_looks_here_afterwards(here):
    """It may import its neighbours when it likes; a library that would like to have something finds nothing."""
    before = list(sys.path)
    (here / "asks_later.py").write_text("def Now():\n    import neighbour\n    return neighbour.__name__")
    for name in ("neighbour", "wanted_by_a_library"):
        (here / f"{name}.py").write_text("")
    now = load_object("asks_later:Now", "task")
    assert sys.path == before
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("wanted_by_a_library")
    assert importlib.util.find_spec("wanted_by_a_library") is None
    assert now() == "neighbour"


FOREIGN = "evil:Evil"
ROUTES = [
    FOREIGN,
    f"OneAgent,world={FOREIGN}",
    f"OnlineClassification,source={FOREIGN}",
    f'OnlineClassification,source="{FOREIGN}"',
    f'OnlineClassification,source=["{FOREIGN}"]',
    f'OnlineClassification,source={{"of":"{FOREIGN}"}}',
    f"plastic-head,front_end=({FOREIGN},width=8)",
    f"plastic-head,front_end=(conv4,inner=({FOREIGN}))",
    f"hebbian,cell={FOREIGN}",
    f"species,of=({FOREIGN},popsize=4)",
    f"species,of=(pgpe,algorithm={FOREIGN})",
    f"GymV26Environment-v0,env_id={FOREIGN}-v0",
    f"plastic_envs/CueReward-v0,task={FOREIGN}",
]


@pytest.mark.parametrize("spec", ROUTES)
def test_every_way_to_name_code_in_a_file_needs_trust(spec):
    (name,) = own_code(spec)
    with pytest.raises(UsageError, match=f"names '{name}', which is code of your own"):
        check_trusted("config.json", spec, ())
    check_trusted("config.json", spec, [name])


@pytest.mark.parametrize(
    ("key", "value"),
    [("rule", FOREIGN), ("network", FOREIGN), ("cell", FOREIGN), ("front_end", f"({FOREIGN})"), ("mood", FOREIGN)],
)
def test_an_agents_file_may_name_no_code_anywhere(run, tmp_path, key, value):
    config = json.loads((run / "agent.json").read_text())
    config["agent"][key] = value.strip("()")
    (tmp_path / "agent.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=f"names '{FOREIGN}', which is code of your own"):
        agents.load(tmp_path)


@pytest.mark.parametrize("task", [f"gym:{FOREIGN}-v0", FOREIGN, f"OneAgent,world={FOREIGN}"])
@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_a_config_may_name_no_code(run, tmp_path, task, command, capsys):
    agents.save(agents.load(run), tmp_path)  # without a mark of the run it is from
    (tmp_path / "history.csv").write_bytes((run / "history.csv").read_bytes())
    result = json.loads((run / "result.json").read_text())
    del result["run"]
    (tmp_path / "result.json").write_text(json.dumps(result))
    config = json.loads((run / "config.json").read_text())
    config["settings"]["task"] = task
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert main([command, str(tmp_path)]) == 2
    assert "which is code of your own" in capsys.readouterr().err
    assert "evil" not in sys.modules


@pytest.mark.parametrize(
    "given",
    [
        {"task": FOREIGN},
        {"task": f"gym:{FOREIGN}-v0"},
        {"rule": f"hebbian,cell={FOREIGN}"},
        {"searcher": f"species,of=({FOREIGN})"},
        {"agent_options": {"cell": FOREIGN}},
        {"agent_options": {"front_end": f"conv4,of=({FOREIGN})"}},
    ],
)
def test_a_config_that_is_repeated_may_name_no_code(run, tmp_path, given, capsys):
    config = json.loads((run / "config.json").read_text())
    config["settings"] |= given
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert main(["train", "--config", str(tmp_path / "config.json"), "--out", str(tmp_path / "run")]) == 2
    assert f"names '{FOREIGN}" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert "evil" not in sys.modules


class Runs:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("planted",)


@pytest.mark.parametrize("name", ["checkpoint.pt", "agent.safetensors", "tensorboard"])
def test_pickles_in_a_folder_are_not_run(run, here, name):
    wanted = settings("snes", budget=32, evals=1)
    for file in ("agent.json", "agent.safetensors", "config.json", "history.csv", "steps.csv", "checkpoint.pt"):
        (here / file).write_bytes((run / file).read_bytes())
    (here / name).write_bytes(pickle.dumps(Runs()))
    with contextlib.suppress(UsageError):
        agents.load(here)
    with contextlib.suppress(UsageError):
        train(wanted, here, resume=True)
    assert not (here / "planted").exists()
