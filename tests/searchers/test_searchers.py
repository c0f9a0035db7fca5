"""Searchers: fitness, common random numbers, the ledger, what is searched, and that they search."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import agents
from evolution import SEARCHERS, Diverged, make_searcher
from evolution.runs.checkpoint import same_state
from evolution.searchers.base import searched_names
from plastic_envs.tasks import make_task
from plastic_envs.utils.errors import UsageError

GRADIENT = {"backprop": "batch_size=8", "a2c": "batch_size=8", "ppo": "batch_size=8,minibatch_size=4,n_epochs=2"}
ALONE = sorted(set(SEARCHERS) - {"species"})  # which needs a world of many agents: see test_many_agents
EVOTORCH = sorted(set(ALONE) - set(GRADIENT))
SMALL = {name: f"{name},{GRADIENT.get(name, 'popsize=8,episodes=4')}" for name in ALONE}


@pytest.fixture(scope="module")
def task():
    return make_task("CueReward")


@pytest.fixture(scope="module")
def agent(task):
    return agents.make_for(task, hidden=4)


def parameters(agent):
    return {name: value.detach().clone() for name, value in agent.named_parameters()}


@pytest.mark.parametrize("name", ALONE)
def test_ledger_counts_the_episodes_presented(name, task, agent, monkeypatch):
    presented = []
    for module in (
        "evolution.searchers.backprop",
        "evolution.searchers.evolutionary.evotorch_problem",
        "evolution.searchers.policy_gradient.lives",
    ):
        monkeypatch.setattr(f"{module}.rollout", counting(presented))
    searcher = make_searcher(SMALL[name], task, agent)
    for _ in range(3):
        assert "loss" in searcher.step()
        assert searcher.episodes == sum(presented)
        assert searcher.env_steps == sum(presented) * task.horizon


def counting(presented):
    def rollout(agent, task, batch_size, generator, **options):
        lived = agents.rollout(agent, task, batch_size, generator, **options)
        if (
            type(task).__module__ != "evolution.searchers.policy_gradient.lives"
        ):  # what PPO shows again is not presented again
            presented.append(lived.loss.numel())
        return lived

    return rollout


@pytest.mark.parametrize("name", ALONE)
def test_same_seed_same_numbers_another_seed_others(name, task, agent):
    def search(seed):
        searcher = make_searcher(SMALL[name], task, agent, seed=seed)
        losses = [searcher.step()["loss"] for _ in range(3)]
        return losses, searcher.state_dict()

    torch.manual_seed(1)
    first = search(0)
    torch.manual_seed(2)  # global generators decide nothing
    assert same_state(first, search(0))
    assert search(1)[0] != first[0]


@pytest.mark.parametrize("name", ALONE)
def test_state_dict_continues_bit_for_bit_and_is_plain(name, task, agent):
    whole = make_searcher(SMALL[name], task, agent, seed=3)
    for _ in range(2):
        whole.step()
    state = whole.state_dict()
    resumed = make_searcher(SMALL[name], task, agent, seed=3)
    resumed.load_state_dict(state)
    assert same_state(resumed.state_dict(), state)
    for _ in range(3):
        assert whole.step() == resumed.step()
    assert same_state(whole.state_dict(), resumed.state_dict())
    assert same_state(parameters(whole.agent()), parameters(resumed.agent()))


@pytest.mark.parametrize("name", ALONE)
def test_parameters_that_are_not_searched_stay(name, task, agent):
    names = [name for name, _ in agent.named_parameters()]
    pattern = names[0][:-1] + "?"
    chosen = searched_names(agent, [pattern])
    assert 0 < len(chosen) < len(names)
    searcher = make_searcher(SMALL[name], task, agent, searched=[pattern])
    assert searcher.n_searched == sum(dict(agent.named_parameters())[name].numel() for name in chosen)
    before = parameters(agent)
    for _ in range(3):
        searcher.step()
    after = parameters(searcher.agent())
    assert {key for key in names if not after[key].equal(before[key])} == set(chosen)
    assert same_state(parameters(agent), before), "the agent given is never changed"


@pytest.mark.parametrize("name", EVOTORCH)
def test_fitness_is_each_individuals_own_rollout_loss(name, task, agent):
    searcher = make_searcher(SMALL[name], task, agent, seed=1)
    searcher.step()
    population = searcher.algorithm.population
    for values, evals in zip(population.values, population.evals[:, 0], strict=True):
        own = searcher.problem.genomes_to_parameters(values.as_subclass(torch.Tensor))
        generator = torch.Generator().manual_seed(searcher.problem.generation_seed)
        alone = agents.rollout(agent, task, 4, generator, parameters=own)
        torch.testing.assert_close(-alone.loss.mean(), evals.as_subclass(torch.Tensor), rtol=1e-4, atol=1e-6)


def test_equal_individuals_get_equal_fitness(task, agent):
    problem = make_searcher("pgpe,popsize=6,episodes=4", task, agent).problem
    batch = problem.generate_batch(6)
    batch.set_values(problem.initial.expand(6, -1))
    problem.begin_generation()
    problem.evaluate(batch)
    assert batch.evals.max() - batch.evals.min() < 1e-6


def test_evaluations_within_a_generation_see_the_same_episodes(task, agent):
    problem = make_searcher(SMALL["ga"], task, agent).problem
    batch = problem.generate_batch(5)
    problem.begin_generation()
    problem.evaluate(batch)
    first = batch.evals.clone()
    problem.evaluate(batch)
    assert batch.evals.equal(first)
    problem.begin_generation()
    problem.evaluate(batch)
    assert not batch.evals.equal(first)


@pytest.mark.parametrize("name", ALONE)
def test_searcher_improves_on_where_it_began(name):
    task = make_task("SequenceReproduction,seq_length=1,delay=0")
    agent = agents.make_for(task, hidden=4, rule="none", seed=1)
    gradient = {"backprop": "learning_rate=0.02", "a2c": "learning_rate=0.02", "ppo": "learning_rate=0.02,n_epochs=2"}
    spec = f"{name},{gradient.get(name, 'popsize=24,episodes=16,stdev_init=0.1')}"
    searcher = make_searcher(spec, task, agent, seed=0, searched=["*"])

    def losses(agent):
        return agents.rollout(agent, task, 500, torch.Generator().manual_seed(9)).loss

    before = losses(searcher.agent())
    for _ in range(40):
        searcher.step()
    gain = before - losses(searcher.agent())
    assert gain.mean() > 4 * gain.std() / len(gain) ** 0.5


def test_fitness_that_is_not_finite_counts_as_the_worst(task, agent):
    from evolution.searchers.evolutionary.evotorch_problem import finite_fitness

    nan, inf = float("nan"), float("inf")
    fitness = finite_fitness(torch.tensor([-1.0, nan, -3.0, inf, -inf]))
    assert fitness.isfinite().all()
    assert fitness[[0, 2]].tolist() == [-1.0, -3.0]
    assert (fitness[[1, 3, 4]] < -3.0).all()
    huge = finite_fitness(torch.tensor([torch.finfo(torch.float32).min, nan, 0.0]))
    assert huge.isfinite().all()


def test_fitness_that_is_not_finite_is_counted(task, agent, monkeypatch):
    def rollout(agent, task, batch_size, generator, **options):
        lived = agents.rollout(agent, task, batch_size, generator, **options)
        lived.loss[:2] = float("nan")
        return lived

    monkeypatch.setattr("evolution.searchers.evolutionary.evotorch_problem.rollout", rollout)
    searcher = make_searcher("snes,popsize=8,episodes=4", task, agent)
    step = searcher.step()
    assert step["nonfinite"] == 2
    assert step["loss"] == pytest.approx(float(-searcher.algorithm.population.evals[2:].mean()))
    searcher.step()
    assert all(value.isfinite().all() for value in searcher.agent().parameters())


@pytest.mark.parametrize("name", ALONE)
def test_nothing_finite_is_a_divergence_and_keeps_the_parameters(name, task, agent, monkeypatch):
    searcher = make_searcher(SMALL[name], task, agent)
    searcher.step()
    before = parameters(searcher.agent())

    def rollout(agent, task, batch_size, generator, **options):
        lived = agents.rollout(agent, task, batch_size, generator, **options)
        lived.loss.mul_(float("nan"))
        if lived.trajectory is not None:
            lived.trajectory.reward.mul_(float("nan"))
        return lived

    for module in (
        "evolution.searchers.backprop",
        "evolution.searchers.evolutionary.evotorch_problem",
        "evolution.searchers.policy_gradient.lives",
    ):
        monkeypatch.setattr(f"{module}.rollout", rollout)
    with pytest.raises(Diverged):
        searcher.step()
    if name == "backprop":
        assert same_state(parameters(searcher.agent()), before)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("spec", ["backprop", "a2c", "ppo,minibatch_size=4,n_epochs=1,learning_rate=0.001"])
def test_schedule_goes_from_the_learning_rate_to_zero(spec, schedule, task, agent):
    searcher = make_searcher(f"{spec},batch_size=8,schedule={schedule}", task, agent, budget=80)
    rates = [searcher.step()["learning_rate"] for _ in range(12)]
    assert rates[0] == 1e-3
    assert rates[5] == pytest.approx(5e-4)
    assert rates[10:] == [0, 0]
    assert rates == sorted(rates, reverse=True)
    with pytest.raises(UsageError, match=f"schedule '{schedule}' needs the budget it runs over"):
        make_searcher(f"{spec},schedule={schedule}", task, agent)


def test_any_algorithm_of_evotorch_by_its_own_name(task, agent):
    spec = "evotorch.algorithms:Cosyne,popsize=8,tournament_size=2,mutation_stdev=0.1,episodes=2"
    searcher = make_searcher(spec, task, agent)
    searcher.step()
    state = searcher.state_dict()
    resumed = make_searcher(spec, task, agent)
    resumed.load_state_dict(state)
    assert searcher.step() == resumed.step()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("bakprop", "did you mean 'backprop'"),
        ("backprop,lr=1", "no option 'lr'"),
        ("backprop,optimizer=lion", "optimizer must be one of adam, adamw, sgd"),
        ("backprop,batch_size=0", "batch_size must be an integer of at least 1"),
        ("backprop,learning_rate=fast", "learning_rate must be"),
        ("backprop,schedule=step", "schedule must be one of cosine, linear"),
        ("pgpe,popsize=7", "even number"),
        ("pgpe,population=8", "no option 'population'"),
        ("snes,episodes=0", "episodes must be an integer of at least 1"),
        ("snes,popsize=ten", "popsize must be an integer of at least 2, not 'ten'"),
        ("snes,stdev_init=0", "stdev_init must be a finite number"),
        ("pgpe,popsize=0", "popsize must be an integer of at least 2, not 0"),
        ("snes,popsize=1", "popsize must be an integer of at least 2, not 1"),
        ("ga,popsize=-2", "popsize must be an integer of at least 1, not -2"),
        ("pgpe,algorithm=SNES", "no option 'algorithm'"),
        ("snes,center_init=3", "no option 'center_init'"),
        ("pgpe,num_interactions=100", "no option 'num_interactions'"),
        ("snes,obj_index=3", "no option 'obj_index'"),
        ("evotorch.algorithms:SteadyStateGA,popsize=4", "needs operators, which have no name"),
        ("evotorch.algorithms:SearchAlgorithm", "neither an evolution.Searcher nor"),
        ("json:JSONDecoder", "neither an evolution.Searcher nor an EvoTorch SearchAlgorithm"),
    ],
)
def test_bad_searcher_is_one_clear_sentence(spec, words, task, agent):
    with pytest.raises(UsageError, match=words) as error:
        make_searcher(spec, task, agent, budget=100)
    assert "\n" not in str(error.value)


def test_bad_pattern_names_the_parameters(task, agent):
    with pytest.raises(UsageError, match=r"'nothing\.\*' matches none of the parameters"):
        make_searcher("backprop", task, agent, searched=["nothing.*"])
    with pytest.raises(UsageError, match="searched is empty"):
        make_searcher("backprop", task, agent, searched=[])


def test_full_covariance_warns_and_refuses(task):
    from evolution.searchers.evolutionary.evotorch_search import check_covariance

    check_covariance("XNES", 1000, 1)
    with pytest.warns(UserWarning, match="2,000 parameters takes some"):
        check_covariance("XNES", 2000, 1)
    with pytest.raises(UsageError, match="more memory than this machine has"):
        check_covariance("CMAES", 10_000_000, 64)
    big = agents.make_for(task, hidden=16)
    make_searcher("cmaes,separable=true,popsize=4", task, big)  # a diagonal needs no warning


def test_backprop_needs_no_evotorch():
    code = (
        "import sys, agents, evolution.reports.plots.generations; from evolution.searchers.table import SEARCHERS;"
        "SEARCHERS.load('backprop'); agents.make(3, 2);"  # nor do reports and agents, nor torch's compiler
        "print(sorted({'evotorch', 'ray', 'stable_baselines3', 'torch._dynamo', 'scipy.stats'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def memory():
    """Live Python objects, live tensors and their bytes."""
    gc.collect()
    objects = gc.get_objects()
    tensors = [item for item in objects if issubclass(type(item), torch.Tensor)]
    return len(objects), len(tensors), sum(item.untyped_storage().nbytes() for item in tensors)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALONE)
def test_memory_does_not_grow_from_generation_10_to_1000(name):
    task = make_task("SequenceReproduction,seq_length=1,delay=0")
    searcher = make_searcher(SMALL[name], task, agents.make_for(task, hidden=4))
    for _ in range(10):
        searcher.step()
    resident = resident_bytes()
    objects, tensors, size = memory()
    for _ in range(990):
        searcher.step()
    after = memory()
    assert after[0] < objects + 500
    assert after[1] <= tensors + 5
    assert after[2] <= size + 10_000
    assert resident_bytes() < resident + 20e6
