"""Gymnasium environments as tasks: the loops of plain Gymnasium, populations, normalisation, runs and errors."""

import gc
import json
import math

import gymnasium
import numpy as np
import pytest
import torch

import agents
import evolution
from agents.normalisation import MIN_VARIANCE, RunningMeanStd, RunningNormalisation
from evolution.cli import main
from evolution.experiments.plan import plan_runs
from evolution.reports.records import open_task
from evolution.seeding import make_generator
from plastic_envs import ExternalTask, UsageError, make_task
from tests.helpers.runs import numbers

SHORT = {
    "CartPole-v1": "gym:CartPole-v1,max_episode_steps=60",
    "Pendulum-v1": "gym:Pendulum-v1,max_episode_steps=40,g=5",
    "MountainCarContinuous-v0": "gym:MountainCarContinuous-v0,max_episode_steps=40",
    "FrozenLake-v1": "gym:FrozenLake-v1,max_episode_steps=40",
}
OPTIONS = {"Pendulum-v1": {"g": 5}}
every_environment = pytest.mark.parametrize("env_id", SHORT)


class Counter(gymnasium.Env):
    """Pays the action and ends after `length` steps; counts the copies that were closed."""

    closed = 0
    observation_space = gymnasium.spaces.Discrete(9, start=2)
    action_space = gymnasium.spaces.Discrete(3, start=-1)

    def __init__(self, length=3, space=None, actions=None):
        self.length = length
        self.observation_space = space or self.observation_space
        self.action_space = actions or self.action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return 2, {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.time += 1
        return 2 + self.time, float(action), self.time == self.length, False, {}

    def close(self):
        type(self).closed += 1


gymnasium.register("tests/Counter-v0", entry_point=Counter, max_episode_steps=5)
gymnasium.register("tests/Endless-v0", entry_point=Counter)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def population_of(agent, size=3):
    noise = generator(7)
    return {n: p.detach() + 0.3 * torch.randn(size, *p.shape, generator=noise) for n, p in agent.named_parameters()}


def agent_for(task, **options):
    """An agent whose normalisation has seen something."""
    agent = agents.make_for(task, hidden=6, seed=1, **options)
    seen = torch.rand(50, task.observation_size, generator=generator(3)) * 2 - 0.7
    agent.normaliser.update(RunningMeanStd.of(seen, torch.ones(50)))
    return agent


@torch.no_grad()
def live_alone(agent, task, env_id, seed):
    """The plain loop over one environment: the sum of its rewards and the number of steps."""
    env = gymnasium.make(env_id, max_episode_steps=task.horizon, **OPTIONS.get(env_id, {}))
    space = env.action_space
    seen, _ = env.reset(seed=seed)
    state, total, steps, over = None, 0.0, 0, False
    while not over:
        flat = gymnasium.spaces.flatten(env.observation_space, seen).astype(np.float32)
        output, state = agent(torch.from_numpy(flat)[None], state)
        if isinstance(space, gymnasium.spaces.Discrete):
            action = int(output.argmax())
        else:
            action = np.clip(output[0].numpy(), space.low, space.high)
        seen, reward, terminated, truncated, _ = env.step(action)
        total, steps, over = total + float(reward), steps + 1, terminated or truncated
    env.close()
    return total, steps


@every_environment
def test_a_rollout_is_the_plain_loop_over_single_environments_with_the_same_seeds(env_id):
    task = make_task(SHORT[env_id])
    agent = agent_for(task)
    with torch.no_grad():
        lived = agents.rollout(agent, task, 4, generator())
    seeds = torch.randint(2**31, (4,), generator=generator()).tolist()
    alone = [live_alone(agent, task, env_id, seed) for seed in seeds]
    torch.testing.assert_close(lived.metric.float(), torch.tensor([total for total, _ in alone]))
    assert torch.equal(lived.loss, -lived.metric)
    assert lived.env_steps == sum(steps for _, steps in alone)
    assert len(lived.outputs) == max(steps for _, steps in alone)
    assert lived.seen.number == lived.env_steps


@every_environment
@pytest.mark.parametrize("batched", [True, False])
def test_a_population_lives_as_each_individual_alone(env_id, batched):
    task = make_task(SHORT[env_id])
    agent = agent_for(task)
    agent.batched = batched
    population = population_of(agent)
    with torch.no_grad():
        together = agents.rollout(agent, task, 2, generator(), parameters=population)
        alone = [
            agents.rollout(agent, task, 2, generator(), parameters={n: p[i] for n, p in population.items()})
            for i in range(3)
        ]
    torch.testing.assert_close(together.metric, torch.stack([lived.metric for lived in alone]), rtol=1e-4, atol=1e-4)
    assert together.env_steps == sum(lived.env_steps for lived in alone)
    for mine, *its in zip(together.seen, *(lived.seen for lived in alone), strict=True):
        torch.testing.assert_close(mine, torch.stack(its), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("rule", "network"), [("none", None), ("hebbian", "plastic-rnn")])
def test_other_rules_and_networks_live_in_environments_too(rule, network):
    task = make_task(SHORT["CartPole-v1"])
    agent = agents.make_for(task, rule=rule, network=network, hidden=5)
    with torch.no_grad():
        lived = agents.rollout(agent, task, 2, generator(), record=["hidden"])
    assert lived.records["hidden"].shape == (len(lived.outputs), 2, 5)
    assert lived.metric.sum() == lived.env_steps  # CartPole pays 1 a step


def test_a_policy_that_balances_gets_all_of_cartpole():
    task = make_task("gym:CartPole-v1")
    assert task.horizon == 500
    state, seen = task.reset(32, generator())
    total = torch.zeros(32)
    for _ in range(task.horizon):
        push = seen @ torch.tensor([0.1, 0.3, 2.0, 1.0]) > 0  # towards where the pole falls, and the cart drifts
        step = task.step(state, push.long())
        seen, total = step.observation, total + step.reward
    assert torch.equal(total, torch.full((32,), 500.0))
    assert step.terminated.all()


def test_an_agent_given_the_balancing_weights_gets_all_of_cartpole():
    task = make_task("gym:CartPole-v1,normalise_observations=false")
    agent = agents.make_for(task, rule="none", cell="rnn", hidden=2)
    assert agent.normaliser is None
    policy = torch.tensor([0.1, 0.3, 2.0, 1.0])
    with torch.no_grad():
        for layer in agent.layers().values():
            layer.weight.zero_()
        agent.encode.weight[:4] = torch.stack([policy, -policy], 1)  # two rectified units, one for each sign
        agent.cell.weight[:2] = torch.eye(2)
        agent.decode.weight[:2, :2] = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        lived = agents.rollout(agent, task, 16, generator())
    assert torch.equal(lived.metric, torch.full((16,), 500.0))


def test_what_follows_an_end_pays_and_shows_nothing():
    task = make_task("gym:tests/Counter-v0,length=3")
    assert (task.horizon, task.output_size, task.observation_size) == (5, 3, 9)
    state, seen = task.reset(2, generator())
    assert torch.equal(seen, torch.eye(9)[[0, 0]])
    steps = [task.step(state, torch.tensor([2, 0])) for _ in range(5)]
    assert torch.equal(torch.stack([step.reward for step in steps])[:, 0], torch.tensor([1.0, 1, 1, 0, 0]))
    assert torch.equal(steps[0].reward, torch.tensor([1.0, -1.0]))  # actions of this space begin at -1
    assert [step.terminated.all().item() for step in steps] == [False, False, True, True, True]
    assert [step.metric_mask.all().item() for step in steps] == [True, True, True, False, False]
    assert not steps[2].observation.any()


def test_copies_are_kept_between_generations_and_closed_with_the_task():
    gc.collect()
    before = Counter.closed
    task = make_task("gym:tests/Counter-v0")
    made = task._environments._made
    agent = agents.make_for(task, hidden=3)
    with torch.no_grad():
        for _ in range(3):
            agents.rollout(agent, task, 2, generator(), parameters=population_of(agent))
    assert len(made) == 6
    del task
    gc.collect()
    assert Counter.closed == before + 6


def test_one_batch_is_lived_at_a_time():
    task = make_task(SHORT["CartPole-v1"])
    first, _ = task.reset(2, generator())
    second, _ = task.reset(2, generator())
    task.step(second, torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(UsageError, match="one batch of episodes at a time"):
        task.step(first, torch.zeros(2, dtype=torch.int64))
    with pytest.raises(UsageError, match="actions for 2 episodes of 6"):
        task.step(second, torch.zeros(2, dtype=torch.int64))


def test_equal_generators_give_equal_numbers_and_evaluations_their_own():
    task = make_task(SHORT["CartPole-v1"])
    first = task.reset(8, make_generator(0, "task"))[1]
    assert torch.equal(first, task.reset(8, make_generator(0, "task"))[1])
    assert not torch.equal(first, task.reset(8, make_generator(0, "evaluation"))[1])


def test_normalisation_is_by_the_mean_and_variance_of_all_that_was_seen():
    values = torch.randn(30, 4, 3, generator=generator()) * torch.tensor([5.0, 1.0, 0.01]) + 2
    counts = torch.rand(30, 4, generator=generator()) > 0.3
    normaliser = RunningNormalisation(3)
    assert torch.equal(normaliser(values), values)
    for part in range(3):
        normaliser.update(RunningMeanStd.of(values[10 * part :][:10], counts[10 * part :][:10]))
    seen = values[counts].double()
    torch.testing.assert_close(normaliser.mean, seen.mean(0))
    torch.testing.assert_close(normaliser.variance, seen.var(0, correction=0))
    assert normaliser.count == len(seen)
    scaled = normaliser(values)[counts]
    torch.testing.assert_close(scaled.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.std(0, correction=0)[:2], torch.ones(2))
    assert scaled[:, 2].std() == pytest.approx(0.01 / math.sqrt(MIN_VARIANCE), rel=0.2)
    normaliser.update(RunningMeanStd.of(torch.full((1, 3), math.nan), torch.ones(1)))
    assert normaliser.count == len(seen)


@pytest.mark.parametrize("searcher", ["pgpe,popsize=4,episodes=2", "ga,popsize=2,episodes=2"])
def test_a_generation_is_normalised_by_what_those_before_it_saw(searcher):
    task = make_task(SHORT["CartPole-v1"])
    search = evolution.make_searcher(searcher, task, agents.make_for(task, hidden=3))
    for _ in range(2):
        search.step()
        assert search.agent().normaliser.count == search.env_steps < search.episodes * task.horizon
    assert search.agent().normaliser.mean.ne(0).all()


class Drift(evolution.Searcher):
    """A user's own searcher: it counts and normalises, and moves nothing."""

    def step(self):
        with torch.no_grad():
            lived = agents.rollout(self._agent, self.task, 4, make_generator(self.episodes, "task"))
        self.ledger.count(4, env_steps=lived.env_steps)
        self.update_normalisation(lived.seen)
        return {"loss": lived.loss.mean().item()}

    def agent(self):
        return self._agent


def test_supervised_tasks_can_ask_for_normalisation_too():
    task = make_task("SequenceReproduction,seq_length=2,delay=0")
    task.normalise_observations = True
    agent = agents.make_for(task, hidden=4)
    lived = agents.rollout(agent, task, 8, generator())
    torch.testing.assert_close(lived.seen.total, lived.episode.inputs.double().sum((0, 1)))
    search = evolution.make_searcher("backprop,batch_size=8", task, agent)
    search.step()
    assert search.agent().normaliser.count == search.env_steps == 8 * task.horizon
    with torch.no_grad():
        outputs, state = [], None
        for observation in lived.episode.inputs:
            output, state = search.agent()(observation, state)
            outputs.append(output)
        again = agents.rollout(search.agent(), task, 8, generator(), episode=lived.episode)
    torch.testing.assert_close(torch.stack(outputs), again.outputs)


def test_networks_that_learn_from_labels_are_not_normalised():
    task = make_task("OnlineClassification")
    with pytest.raises(UsageError, match="learns from labels as they are"):
        agents.make_for(task, network="feedback", rule="pool", normalise_observations=True)
    with pytest.raises(UsageError, match="normalise_observations must be true or false"):
        agents.make(4, 2, normalise_observations=3)


def test_saved_agents_and_transplants_normalise_alike(tmp_path):
    task = make_task(SHORT["CartPole-v1"])
    agent = agent_for(task)
    agents.save(agent, tmp_path)
    loaded = agents.load(tmp_path)
    observation = torch.rand(3, 4)
    assert torch.equal(loaded(observation)[0], agent(observation)[0])
    grown = agents.transfer_rule(agent, task, "self-modulated,hidden=9")
    assert torch.equal(grown.normaliser.mean, agent.normaliser.mean)
    other = agents.transfer_rule(agent, make_task(SHORT["Pendulum-v1"]))
    assert other.normaliser.count == 0
    plain = agents.transfer_rule(agent, make_task("SequenceReproduction"))
    assert plain.normaliser is None


def settings(searcher="pgpe,popsize=4,episodes=2", **changes):
    given = {"hidden": 3, "budget": 6 * 8, "evals": 3, "eval_episodes": 5} | changes
    return evolution.RunSettings(SHORT["CartPole-v1"], searcher=searcher, **given)


@pytest.mark.parametrize("searcher", ["pgpe,popsize=4,episodes=2", "tests.external.test_external:Drift"])
def test_resumed_is_uninterrupted(tmp_path, searcher):
    class Stop(Exception):
        pass

    def stop(progress):
        if progress.episodes >= 24:
            raise Stop

    evolution.train(settings(searcher), tmp_path / "whole")
    with pytest.raises(Stop):
        evolution.train(settings(searcher), tmp_path / "stopped", progress=stop)
    evolution.train(settings(searcher), tmp_path / "stopped", resume=True)
    assert numbers(tmp_path / "stopped") == numbers(tmp_path / "whole")
    history, result, _ = numbers(tmp_path / "whole")
    assert 48 * 60 > result["env_steps"] == int(history[-1]["env_steps"]) > 48
    loaded = agents.load(tmp_path / "whole")
    assert loaded.normaliser.count == result["env_steps"]
    score = evolution.evaluate(loaded, make_task(SHORT["CartPole-v1"]), 5)
    assert score.metric == pytest.approx(result["metric"])


def test_commands_take_environments(tmp_path, capsys):
    task = SHORT["CartPole-v1"]
    options = ["--hidden", "3", "--searcher", "pgpe,popsize=4,episodes=2", "--budget", "32", "--eval-episodes", "4"]
    assert main(["train", task, *options, "--evals", "2", "--out", str(tmp_path / "run")]) == 0
    assert "finished: reward" in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "run"), "--episodes", "4", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["metric"] == "reward"
    assert told["higher_is_better"]
    assert main(["report", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "report.html").is_file()
    assert main(["train", task, *options, "--dry-run"]) == 0
    assert "1 × 32 episodes" in capsys.readouterr().out


def test_comparisons_say_where_gradients_make_no_sense():
    grid = evolution.Grid((SHORT["CartPole-v1"],), ("hebbian",), ("backprop", "pgpe"), seeds=(0,), budget=64, hidden=3)
    reasons = [run.not_applicable for run in plan_runs([grid])]
    assert reasons == ["backprop needs a task with targets: this one pays reward only", ""]
    task = make_task(SHORT["CartPole-v1"])
    with pytest.raises(UsageError, match=r"targets: ExternalTask pays reward only, for evolution, a2c and ppo$"):
        evolution.make_searcher("backprop", task, agents.make_for(task, hidden=3))


def test_only_environments_of_other_modules_need_trust(tmp_path):
    assert isinstance(open_task(tmp_path, "gym:CartPole-v1", ()), ExternalTask)
    spec = "gym:tests.external.test_external:tests/Counter-v0"
    with pytest.raises(UsageError, match=r"--trust tests.external.test_external:tests/Counter-v0"):
        open_task(tmp_path, spec, ())
    assert isinstance(open_task(tmp_path, spec, ["tests.external.test_external:tests/Counter-v0"]), ExternalTask)
    with pytest.raises(UsageError, match=r"--trust gym:never"):
        open_task(tmp_path, "gym:gym:never", ())


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("gym:CartPol-v1", "CartPol"),
        ("gym:", "Malformed environment ID"),
        ("gym:a:b:c", "is neither gym:id nor gym:module:id"),
        ("gym:no_such_module:X-v0", "no_such_module"),
        ("gym:Pendulum-v1,gravity=5", "unexpected keyword argument 'gravity'"),
        ("gym:LunarLander-v3", "[Bb]ox2[Dd]"),
        ("gym:Ant-v5", "(?i)mujoco"),
        ("gym:Blackjack-v1,max_episode_steps=9", r"observations in Tuple\(.*Box, .*or Discrete"),
        ("gym:tests/Endless-v0", "has no limit of its own: say max_episode_steps"),
        ("gym:CartPole-v1,max_episode_steps=0", "max_episode_steps must be an integer of at least 1, not 0"),
        ("gym:CartPole-v1,normalise_observations=3", "normalise_observations must be true or false, not 3"),
    ],
)
def test_what_cannot_be_lived_in_is_refused_in_one_sentence(spec, says):
    with pytest.raises(UsageError, match=says) as error:
        make_task(spec)
    assert "\n" not in str(error.value)
    assert spec.partition(",")[0] in str(error.value) or "must be" in str(error.value)


def test_other_actions_are_refused():
    with pytest.raises(UsageError, match=r"takes actions in MultiBinary\(2\)"):
        ExternalTask("tests/Counter-v0", actions=gymnasium.spaces.MultiBinary(2))
    task = make_task("gym:tests/Endless-v0,max_episode_steps=7")
    assert task.horizon == 7
