"""Searches among many agents: clones, mixed populations, species; and the same by Ray's processes."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import ray
import torch
from PIL import Image

import agents
from agents.species import Species
from evolution import Grid, RunSettings, compare, evaluate, make_searcher, report, train
from evolution.reports.tables import format_bootstrap
from evolution.runs.checkpoint import same_state
from evolution.runs.steps import read_steps
from evolution.searchers.evolutionary.actors import check_actors, ray_running
from evolution.searchers.evolutionary.evotorch_problem import Lived
from evolution.searchers.evolutionary.generation import generation_metrics, rule_metrics
from plastic_envs import UsageError, make_task
from plastic_envs.core.matchmaking import Matchmaking

WORLD = "Foraging,size=6,n_agents=4,length=12"
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
SPECIES = "species,of=(snes,popsize=8,episodes=8)"


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def task():
    return make_task(WORLD)


@pytest.fixture(scope="module")
def agent(task):
    return agents.make_for(task, rule="additive-hebb,bound=none", network="plastic-mlp,hidden_layers=0", seed=1)


def test_everyone_sits_once_in_every_meeting_and_all_is_as_in_the_worlds(task):
    seating = Matchmaking(task, 8)
    state, first = seating.reset(3, generator())
    _, seats, holders = state
    assert torch.equal(seats.sort(0).values, torch.arange(24).view(3, 8).T)  # meeting b is rows 8 b to 8 b + 7
    assert torch.equal(holders[seats.flatten()], torch.arange(24))
    alone = generator()
    torch.rand(3, 8, generator=alone)  # who sits where
    expected, seen = task.reset(24, alone)
    assert torch.equal(first, seen[seats])
    for action in torch.randint(5, (task.horizon, 8, 3), generator=generator(1)):
        step = seating.step(state, action)
        by_row = torch.empty(24, dtype=torch.int64)
        by_row[seats.flatten()] = action.flatten()
        told = task.step(expected, by_row)
        assert torch.equal(step.reward, told.reward[seats])
        assert torch.equal(step.observation, told.observation[seats])
        state, expected = step.state, told.state
    assert not torch.equal(seats, Matchmaking(task, 8).reset(3, generator(5))[0][1])


def test_mixed_fitness_is_each_individuals_own(task, agent):
    searcher = make_searcher("snes,popsize=8,episodes=5,worlds=mixed,stdev_init=0.5", task, agent)
    searcher.step()
    lived, genomes = searcher.problem.lived[0]
    again = torch.Generator().manual_seed(searcher.problem.generation_seed)
    parameters = searcher.problem.genomes_to_parameters(genomes)
    whole = agents.rollout(agent, Matchmaking(task, 8), 5, again, parameters=parameters)
    torch.testing.assert_close(lived.losses, whole.loss.mean(1))
    assert searcher.episodes == 40
    assert searcher.env_steps == 40 * task.horizon


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("snes,popsize=6,episodes=4,worlds=mixed", "6 individuals cannot meet in worlds of 4"),
        ("snes,popsize=8,episodes=6", "must be a multiple of 4, not 6"),
        ("snes,worlds=apart", "worlds must be"),
        ("species,number=3", "cannot be dealt evenly to number=3"),
        ("species,of=backprop", "needs a task with targets"),
    ],
)
def test_what_does_not_fit_a_world_is_one_sentence(spec, words, task, agent):
    with pytest.raises(UsageError, match=words):
        make_searcher(spec, task, agent).step()


def test_mixed_worlds_need_many_agents():
    task = make_task("GridMaze")
    with pytest.raises(UsageError, match="this task's agents live alone"):
        make_searcher("snes,worlds=mixed", task, agents.make_for(task, rule="none", hidden=4))


def test_species_live_their_own_rows(task):
    members = [agents.make_for(task, rule="hebbian", hidden=3, seed=seed) for seed in range(2)]
    both = Species(members)
    observation = torch.randn(6, task.observation_size, generator=generator())
    state = both.initial_state((6,))
    apart = [member.initial_state((3,)) for member in members]
    for _ in range(3):
        output, state = both.live(observation, state)
        for number, member in enumerate(members):
            expected, apart[number] = member.live(observation[number::2], apart[number])
            assert torch.equal(output[number::2], expected)
    with pytest.raises(UsageError, match="cannot be dealt evenly"):
        both.initial_state((5,))
    with pytest.raises(UsageError, match="two or more"):
        Species(members[:1])


@pytest.mark.parametrize("network", ["plastic-mlp", "plastic-rnn", "self-modulated,cell=lstm"])
@pytest.mark.parametrize("rule", ["none", "additive-hebb"])
def test_individuals_of_a_species_may_differ_in_any_parameter_alone(task, network, rule):
    if rule == "additive-hebb" and network.startswith("self-modulated"):
        rule = "hebbian"
    both = Species([agents.make_for(task, rule=rule, network=network, seed=seed) for seed in range(2)])
    with torch.no_grad():
        expected = agents.rollout(both, task, 8, generator())
        for name, value in both.named_parameters():
            same = {name: value.expand(3, *value.shape)}  # the other species does not depend on the individual
            lived = agents.rollout(both, task, 8, generator(), parameters=same)
            assert lived.outputs.shape == (3, *expected.outputs.shape), name
            torch.testing.assert_close(lived.loss, expected.loss.expand(3, 8))


@pytest.mark.parametrize("rule", ["none", "additive-hebb"])
def test_species_are_searched_with_and_without_plasticity(task, rule):
    agent = agents.make_for(task, rule=rule, network="plastic-mlp", seed=1)
    assert torch.isfinite(torch.tensor(make_searcher(SPECIES, task, agent).step()["loss"]))


def test_species_are_saved_and_loaded(task, tmp_path):
    both = Species([agents.make_for(task, rule="hebbian", hidden=3, seed=seed) for seed in range(2)])
    agents.save(both, tmp_path)
    loaded = agents.load(tmp_path)
    assert isinstance(loaded, Species)
    assert evaluate(loaded, task, 40).metric == evaluate(both, task, 40).metric
    assert "species 1" in loaded.rule.describe()


def test_a_species_evolves_by_its_own_agents_among_the_others_centres(task, agent):
    searcher = make_searcher(SPECIES, task, agent, seed=3)
    before = dict(searcher.agent().named_parameters())
    told = searcher.step()
    assert told["loss"] == pytest.approx((told["loss.0"] + told["loss.1"]) / 2)
    assert searcher.episodes == 2 * 8 * 8
    for number, own in enumerate(searcher.species):
        lived, genomes = own.problem.lived[0]
        values = dict(own.problem.others) | own.problem.genomes_to_parameters(genomes[2])
        other = f"members.{1 - number}.stack.layer1.weight"
        assert torch.equal(values[other], before[other])
        again = torch.Generator().manual_seed(own.problem.generation_seed)
        alone = agents.rollout(own.problem.agent, task, 8, again, parameters=values)
        torch.testing.assert_close(lived.losses[2], alone.loss[number::2].mean())
    state = searcher.state_dict()
    ahead = make_searcher(SPECIES, task, agent, seed=3)
    ahead.load_state_dict(state)
    assert searcher.step() == ahead.step()
    assert same_state(dict(searcher.agent().named_parameters()), dict(ahead.agent().named_parameters()))


def test_a_generation_is_told_in_numbers():
    lived = Lived(torch.tensor([-1.0, -3.0, -2.0, torch.inf]), torch.zeros(4), torch.ones(4, 20) * 0.5, None, 0)
    genomes = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 0.0], [2.0, 0.0]])
    told = generation_metrics(lived, genomes)
    assert [told[f"fitness_{name}"] for name in ("min", "q1", "median", "q3", "max")] == [1.0, 1.5, 2.0, 2.5, 3.0]
    assert (told["loss"], told["best_loss"], told["nonfinite"], told["diversity"]) == (-2.0, -3.0, 1.0, 0.5)
    assert [told[f"reward_age_{age}"] for age in range(1, 11)] == [0.5] * 10
    assert generation_metrics(lived._replace(losses=torch.full((4,), torch.nan)), genomes) == {"nonfinite": 4.0}
    rule = {"rule.eta": torch.tensor(0.25), "rule.codes": torch.tensor([1.0, 2.0]), "weight": torch.ones(3)}
    assert rule_metrics(rule) == {"rule.eta": 0.25, "rule.codes.0": 1.0, "rule.codes.1": 2.0}
    assert rule_metrics({"rule.table": torch.zeros(100)}) == {}


def generations(spec, task, agent, actors, steps=2, during=None):
    """What each generation told, and where the search ended; with actors, of a Ray that runs."""
    searcher = make_searcher(spec, task, agent, seed=2)
    if actors:
        searcher.spread_over(actors)
    told = [searcher.step()]
    if during:
        threading.Thread(target=during).start()
    told += [searcher.step() for _ in range(steps - 1)]
    return told, [value for _, value in searcher.agent().named_parameters()]


def listening():
    """The addresses at which this process and all that it has started listen, as Linux writes them."""

    def family(process):
        lists = [task.joinpath("children").read_text().split() for task in Path(f"/proc/{process}/task").iterdir()]
        return [process, *(one for children in lists for child in children for one in family(child))]

    ours = set()
    for process in family(str(os.getpid())):
        for descriptor in os.listdir(f"/proc/{process}/fd"):
            with contextlib.suppress(OSError):
                ours.add(os.readlink(f"/proc/{process}/fd/{descriptor}"))
    tables = [Path("/proc/net", kind).read_text().splitlines()[1:] for kind in ("tcp", "tcp6")]
    lines = [line.split() for table in tables for line in table]
    return [words[1].partition(":")[0] for words in lines if words[3] == "0A" and f"socket:[{words[9]}]" in ours]


ASK = """
import sys
from ray._raylet import GcsClient
print(bool(GcsClient(address=sys.argv[1]).internal_kv_keys(b"", namespace=None)))
"""


def ask(address, **environment):
    """Look into what Ray's head keeps, as another process of this machine; its home is nowhere."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    command = [sys.executable, "-c", ASK, address]
    return subprocess.run(
        command, env=own | {"HOME": "/nowhere"} | environment, capture_output=True, text=True, check=False
    )


def check_that_ray_is_for_us_alone():
    found = listening()
    assert len(found) >= 6  # head, raylet, agent, driver and workers
    assert set(found) <= {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    address = ray._private.worker._global_node.address
    token = os.environ["RAY_AUTH_TOKEN"]
    for refused in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "ab" * 32}):
        asked = ask(address, **refused)
        assert not asked.stdout
        assert "InvalidAuthToken" in asked.stderr
    assert ask(address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token).stdout == "True\n"
    folder = Path(ray._private.worker._global_node.get_temp_dir_path()).parent
    assert folder.stat().st_mode & 0o077 == 0
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_actors_give_the_same_bits_and_nobody_else_can_reach_them(task, agent, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # where no worker looks for modules
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")  # a cluster that must not be joined
    before = dict(os.environ)
    normalised = make_task("gym:CartPole-v1,max_episode_steps=20")
    cases = [  # each actor takes seconds to start
        ("snes,popsize=5,episodes=2", normalised, agents.make_for(normalised, rule="abcd", hidden=4), 2),
        (SPECIES, task, agent, 1),
    ]
    alone = [generations(*case[:-1], None) for case in cases]
    with ray_running(2):
        folder = check_that_ray_is_for_us_alone()
        assert str(tmp_path) not in ray.get(ray.remote(lambda: sys.path).remote())
        spread = [generations(*case) for case in cases]
    assert not folder.exists()
    told = {name for name in os.environ if os.environ.get(name) != before.get(name)}
    assert not told & {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_ADDRESS"}
    for (told, found), (again, same) in zip(alone, spread, strict=True):
        assert told == again
        assert all(map(torch.equal, found, same))


def test_actors_are_refused_where_they_cannot_help(task, agent):
    for spec, words in (("snes,worlds=mixed", "meet each other"), ("a2c,batch_size=4", "has no population")):
        with pytest.raises(UsageError, match=f"actors=2: .*{words}"):
            check_actors(make_searcher(spec, task, agent), 2, None)
    with pytest.raises(UsageError, match="give actors too"):
        check_actors(make_searcher("snes", task, agent), None, "auto")


@pytest.mark.parametrize(
    ("searcher", "where"),
    [("snes", {"actors": 0}), ("a2c", {"actors": 2}), ("snes", {"ray_address": "auto"})],
)
def test_actors_that_are_refused_leave_no_folder(searcher, where, tmp_path):
    settings = RunSettings(WORLD, rule="none", hidden=4, searcher=searcher, budget=192, eval_episodes=8)
    with pytest.raises(UsageError):
        train(settings, tmp_path / "run", **where)
    assert not (tmp_path / "run").exists()


def test_an_address_where_nothing_answers_is_said_at_once(tmp_path):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"127.0.0.1:{held.getsockname()[1]}"
        start = time.monotonic()
        with (
            pytest.raises(UsageError, match=f"^ray_address='{address}': nothing answers there: "),
            ray_running(2, address),
        ):
            pass
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_something_else_answers_is_said_at_once(scheme):
    with socket.create_server(("127.0.0.1", 0)) as web:
        address = f"{scheme}127.0.0.1:{web.getsockname()[1]}"

        def answer():
            connection, _ = web.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with (
            pytest.raises(UsageError, match=f"^ray_address='{address}': what answers there is not Ray"),
            ray_running(2, address),
        ):
            pass
        thread.join()


@pytest.mark.parametrize("address", ["", "nohost", "ray://nohost", "host:port", ":6379"])
def test_an_address_that_is_none_is_refused(address):
    with (
        pytest.raises(UsageError, match=r"^ray_address must be host:port, ray://host:port or auto, not '.*'$"),
        ray_running(2, address),
    ):
        pass


@pytest.mark.slow
def test_an_actor_that_is_killed_is_replaced_with_the_same_bits():
    task = make_task("CueReward")
    agent = agents.make_for(task, hidden=64)
    spec = "pgpe,popsize=32,episodes=64"

    def kill():
        time.sleep(0.3)
        found = subprocess.run(["pgrep", "-f", "ray::EvaluationActor"], capture_output=True, text=True, check=True)
        os.kill(int(found.stdout.split()[0]), signal.SIGKILL)

    told, found = generations(spec, task, agent, None, 8)
    with ray_running(2):
        again, same = generations(spec, task, agent, 2, 8, during=kill)
    assert told == again
    assert all(map(torch.equal, found, same))


@pytest.mark.slow
def test_a_run_and_a_comparison_on_ray_come_to_the_same(tmp_path):
    settings = RunSettings(
        WORLD, rule="none", hidden=4, searcher="snes,popsize=8,episodes=4", budget=64, eval_episodes=8
    )
    for actors in (None, 2):
        train(settings, tmp_path / str(actors), actors=actors)
    grid = Grid(tasks=(WORLD,), rules=("none",), searchers=("snes,popsize=8,episodes=4",), hidden=4, budget=64,
                eval_episodes=8, seeds=(0, 1))  # fmt: skip
    subprocess.run([*RAY, "start", "--head", "--num-cpus=2", "--port=6399", "--include-dashboard=false"], check=True)
    try:
        there = compare(grid, tmp_path / "there", jobs=2, ray_address="127.0.0.1:6399")
    finally:
        subprocess.run([*RAY, "stop", "--force"], check=True)
    here = compare(grid, tmp_path / "here", jobs=2)
    files = [folder / "agent.safetensors" for folder in (tmp_path / "None", tmp_path / "2")]
    files += [run.folder / "agent.safetensors" for run in (here.runs[0], there.runs[0])]
    assert len({path.read_bytes() for path in files}) == 1
    assert [run.result.metric for run in here.runs] == [run.result.metric for run in there.runs]


def test_intervals_are_over_what_was_drawn_together():
    """Every second world means the opposite: who prefers one kind fares well in one of two, and the mean is certain."""
    task = make_task("Foraging,n_agents=2,size=6,length=30")
    agent = agents.make_for(task, rule="none", network="plastic-mlp,hidden_layers=0", seed=3)
    evaluation = evaluate(agent, task, 400, references=False)
    pairs = evaluation.scores.view(-1, 4).mean(1)
    low, high = evaluation.interval
    expected = 1.96 * float(pairs.std()) / len(pairs) ** 0.5
    assert (high - low) / 2 == pytest.approx(expected, rel=0.1)
    assert task.drawn_together == 4
    assert format_bootstrap(1.0, 2.0, task) == "(1.00 to 2.00, 95% bootstrap over worlds)"
    assert make_task("Foraging,n_agents=2,n_kinds=3").drawn_together == 2


def test_a_report_shows_generations_and_a_film(tmp_path):
    settings = RunSettings(
        WORLD, rule="none", hidden=4, searcher="snes,popsize=8,episodes=8", budget=192, eval_episodes=8
    )
    train(settings, tmp_path)
    text = report(tmp_path).read_text()
    assert "<h3>Generations</h3>" in text
    with Image.open(next((tmp_path / "figures").glob("*-film.gif"))) as film:
        assert film.n_frames == 12
    assert len(read_steps(tmp_path / "steps.csv")["episodes"]) == 3


def test_a_comparison_of_worlds_of_two_sizes_is_refused_before_it_begins(tmp_path):
    grid = Grid(tasks=(WORLD, f"{WORLD.replace('n_agents=4', 'n_agents=3')}"), rules=("none",),
                searchers=("snes,popsize=8,episodes=8",), hidden=4, budget=64, eval_episodes=12)  # fmt: skip
    with pytest.raises(UsageError, match="must be a multiple of 3, not 8"):
        compare(grid, tmp_path / "out")
