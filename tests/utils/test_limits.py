"""Sizes are refused before they are built: every option that is a number, of whatever goes by name.

What is registered is found by its signature, so that a new task, network, searcher or front end is tried too.
"""

import contextlib
import dataclasses
import inspect
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import agents
from agents.factory import _count
from agents.networks import NETWORKS
from agents.networks.front_ends import FRONT_ENDS
from agents.rules import RULES
from evolution import Grid, RunSettings, evaluate, make_searcher
from evolution.cli import main
from evolution.experiments.grid import seeds_from
from evolution.experiments.plan import plan_runs
from evolution.searchers.evolutionary.evotorch_search import _find
from evolution.searchers.table import SEARCHERS
from plastic_envs import UsageError, make_task
from plastic_envs.data.synthetic import relu, rnn
from plastic_envs.envs.vector_env import TaskVectorEnv
from plastic_envs.tasks import TASKS
from plastic_envs.utils.checks import check_int
from plastic_envs.utils.limits import check_episodes, in_time, sizes_checked
from plastic_envs.worlds import WORLDS

ABSURD = 10**11
SECONDS, BYTES = 5, 10**9

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")


class TooLongError(Exception):
    """A request that should have been refused is still being worked on."""


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """A gigabyte more memory than is taken now, and five seconds of the processor."""

    def stop(*_: Any) -> None:
        raise TooLongError

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = signal.signal(signal.SIGPROF, stop)
    resource.setrlimit(resource.RLIMIT_AS, (taken + BYTES, hard))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    start = time.process_time()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGPROF, before)
    assert time.process_time() - start < SECONDS + 1


def check_refused_or_done(request: Callable[[], Any]) -> None:
    """What fits is done; what does not is refused in one sentence."""
    said = ""
    with bounded():
        try:
            request()
        except UsageError as error:
            said = str(error)
    assert "\n" not in said
    assert len(said) < 700


def sizes(function: Callable[..., Any]) -> list[str]:
    """The options that are whole numbers."""
    found = inspect.signature(function).parameters.values()
    whole = [one.name for one in found if "int" in str(one.annotation).replace("Float", "")]
    return [name for name in whole if name not in ("seed", "budget", "self")]


OF_TASKS = [(name, option) for table in (TASKS, WORLDS) for name in table for option in sizes(table.load(name))]


@pytest.mark.parametrize(("name", "option"), OF_TASKS)
def test_sizes_of_tasks(name: str, option: str) -> None:
    def request() -> None:
        task = make_task(name, **{option: ABSURD})
        TaskVectorEnv(task, num_envs=task.agents_per_world).reset(seed=0)

    check_refused_or_done(request)


OF_NETWORKS = [
    (name, field.name)
    for name in NETWORKS
    for field in dataclasses.fields(NETWORKS.load(name).Options)
    if "int" in str(field.type)
]


@pytest.mark.parametrize(
    ("name", "option"),
    OF_NETWORKS + [(name, size) for name in NETWORKS for size in ("observation_size", "output_size", "parameters")],
)
def test_sizes_of_networks(name: str, option: str) -> None:
    network = NETWORKS.load(name)
    rule = next(rule for rule in RULES if set(RULES.load(rule).needs) <= network.offers)

    settings = {"observation_size": 100, "output_size": 10, "rule": rule, "network": name, option: ABSURD}
    check_refused_or_done(lambda: agents.make(**settings))


def searcher_options(name: str) -> list[str]:
    target, algorithm = SEARCHERS.load(name), SEARCHERS[name].options.get("algorithm")
    own = sizes(target.__init__) + (sizes(_find(algorithm)) if algorithm else [])
    return [option for option in dict.fromkeys(own) if option not in ("num_interactions", "popsize_max")]


@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name in SEARCHERS for option in searcher_options(name)]
)
def test_sizes_of_searchers(name: str, option: str) -> None:
    task = make_task("Foraging,size=6,n_agents=4,length=3" if name in ("a2c", "ppo", "species") else "CueReward")
    agent = agents.make_for(task, rule="hebbian", network="plastic-mlp", hidden=4)
    given = "species,of=(snes,popsize=8,episodes=8)" if name == "species" else name
    check_refused_or_done(lambda: make_searcher(f"{given},{option}={ABSURD}", task, agent).step())


@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name in FRONT_ENDS for option in sizes(FRONT_ENDS.load(name).__init__)]
)
def test_sizes_of_front_ends(name: str, option: str) -> None:
    front_end = f"{name},{option}={ABSURD}"
    check_refused_or_done(
        lambda: agents.make(64 * 64 + 5, 5, network="plastic-head", image_shape=(64, 64), front_end=front_end)
    )


@pytest.mark.parametrize(
    ("request_of_it", "says"),
    [
        (
            lambda: make_task("SequenceReproduction,seq_length=100000000"),
            "seq_length=100000000: an episode of",
        ),
        (lambda: TaskVectorEnv("CueReward", num_envs=10**9), r"num_envs=1000000000: .* take [\d,]+ GB"),
        (lambda: TaskVectorEnv("gym:CartPole-v1", num_envs=10**9), r"num_envs=1000000000: copies take 20,000 GB"),
        (lambda: agents.make(9, 2, parameters=ABSURD), "parameters=100000000000 take 800 GB"),
        (lambda: agents.make(9, 2, hidden=10**9, network="plastic-mlp"), "hidden=1000000000"),
        (lambda: agents.rollout(*AGENT_AND_TASK(), 10**10, torch.Generator()), r"take [\d,]+ GB"),
        (lambda: evaluate(*AGENT_AND_TASK(), 10**11), r"episodes=100000000000 of 20 steps last 2 days"),
        (lambda: evaluate(*AGENT_AND_TASK(), 10**9), r"episodes=1000000000: their scores take 100 GB"),
        (lambda: seeds_from("100000000"), r"--seeds 100000000: .* runs .* take .* years"),
        (lambda: plan_runs([Grid(("CueReward",), ("none",), ("backprop",), seeds=range(10**5))]), "at most 20,000"),
        (
            lambda: check_int("hidden", 10**5000, low=1),
            "and of no more than 64 bits",
        ),
        (lambda: RunSettings("CueReward", threads=10**6), "threads must be an integer from 1 to 1024, not 1000000"),
        (lambda: relu(n_hidden=10**9), "relu|GB"),
        (lambda: rnn(n_units=10**6), "rnn|GB"),
    ],
)
def test_the_refusal_names_the_argument_and_the_estimate(request_of_it: Callable[[], Any], says: str) -> None:
    with bounded(), pytest.raises(UsageError, match=says):
        request_of_it()


def AGENT_AND_TASK() -> tuple[agents.Agent, Any]:
    task = make_task("CueReward")
    return agents.make_for(task, hidden=4), task


@pytest.mark.parametrize(
    "words",
    [
        "train CueReward --hidden 1000000000",
        "train CueReward --eval-episodes 100000000000",
        "train CueReward --searcher pgpe --actors 1000000",
        "train CueReward --rule hebbian,parameters=100000000000",
        "train CueReward --searcher backprop,batch_size=1000000000",
        "train CueReward --searcher snes,popsize=100000000000",
        "compare --tasks CueReward --rules none --searchers backprop --seeds 100000000",
        "compare --tasks CueReward --rules none --searchers backprop --eval-episodes 100000000000",
    ],
)
def test_what_is_too_large_leaves_no_folder(words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with bounded():
        assert main([*words.split(), "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", ["1e18", "1e400", "nan", "0", str(2**63), "9" * 32, "-1", "null", "[]", ""])
@pytest.mark.parametrize(
    "network", ["plastic-mlp,scale={}", "plastic-head,label_gain={}", "plastic-mlp,max_norm={}", "plastic-head,rate={}"]
)
def test_real_options_take_any_number_or_refuse_it(network: str, value: str) -> None:
    check_refused_or_done(lambda: agents.make(9, 2, network=network.format(value)))


@pytest.mark.parametrize("option", ["popsize=1e18", "popsize=1e400", "popsize=0.0", "obj_index=1e400"])
@pytest.mark.parametrize("name", ["snes", "ga", "cmaes"])
def test_populations_are_whole_numbers(name: str, option: str) -> None:
    agent, task = AGENT_AND_TASK()
    with pytest.raises(UsageError, match=option.partition("=")[0]):
        make_searcher(f"{name},{option}", task, agent)


def test_only_sizes_are_sizes() -> None:
    with sizes_checked("mine"):
        assert torch.arange(10**12, 10**12 + 6, 2).tolist() == [10**12, 10**12 + 2, 10**12 + 4]
        assert torch.scalar_tensor(10**15, dtype=torch.int64) == 10**15
        assert torch.randint(2**60, 2**62, (3,)).shape == torch.full((3,), 10**15).shape
    for make in (lambda: torch.arange(10**13), lambda: torch.eye(10**7), lambda: torch.zeros(10**7, 10**7)):
        with bounded(), pytest.raises(UsageError, match=r"^mine takes .* GB or more"), sizes_checked("mine"):
            make()


def test_a_users_own_module_is_counted_and_checked_like_ours() -> None:
    with bounded(), pytest.raises(UsageError, match=r"^mine takes 4,000 GB or more"), sizes_checked("mine"):
        torch.nn.Linear(10**6, 10**6)


@pytest.mark.parametrize("network", [name for name, option in OF_NETWORKS if option == "hidden"])
def test_parameters_are_counted_without_making_them(network: str) -> None:
    rule = next(rule for rule in RULES if set(RULES.load(rule).needs) <= NETWORKS.load(network).offers)
    settings = {"observation_size": 20, "output_size": 3, "rule": rule, "network": network, "hidden": 9}
    made = sum(value.numel() for value in agents.make(**settings).parameters())
    assert _count(settings) == made
    with bounded():
        assert _count(settings | {"hidden": 10**5}) >= made


def test_a_long_life_in_someone_elses_environment_is_no_size() -> None:
    """Its end may come soon, and nothing is drawn for its steps."""
    task = make_task("gym:CartPole-v1,max_episode_steps=1000000000000000")
    check_episodes(task, 8)
    agent = agents.make_for(task, rule="none", network="plastic-mlp", hidden=2)
    assert evaluate(agent, task, 4, references=False).scores.shape == (4,)


def test_times_in_words() -> None:
    assert [in_time(x) for x in (5, 300, 7200 * 3, 86400 * 9, 3.15e9)] == [
        "5 seconds", "5 minutes", "6 hours", "9 days", "100 years"
    ]  # fmt: skip
