"""Tasks in which actions decide what comes next: pure steps, populations, policies, and their evaluation."""

import copy
import json
import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.wrappers import RecordVideo

import agents
from evolution import cli, evaluate
from evolution.runs.checkpoint import same_state
from evolution.seeding import make_generator
from plastic_envs import TASKS, SupervisedTask, TaskVectorEnv, Trajectory, UsageError, make_task, play
from plastic_envs.core.policies import policy_scores
from tests.envs.test_envs import Countdown
from tests.helpers.in_process import run_in_process

SPECS = [
    *(name for name in TASKS if not issubclass(TASKS.load(name), SupervisedTask) and name != "OneAgent"),
    "OneAgent,world=RepeatedGame,others=oracle",  # others who draw, draw for a whole batch
    "GridMaze,size=5,length=40,wall_penalty=0.5",
    "GridMaze,size=11,length=30,reward=1",
    "TargetDiscovery,n_cues=3,n_bits=2,n_shown=1,max_blanks=0,length=21",
]


@pytest.fixture(params=SPECS)
def task(request):
    return make_task(request.param)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_actions(task, *shape, seed=3):
    return torch.randint(task.output_size, (task.horizon, *shape), generator=generator(seed))


def live(task, state, actions):
    """All steps of an episode, for actions (T, ...)."""
    steps = []
    for action in actions:
        steps.append(task.step(state, action))
        state = steps[-1].state
    return steps


def parts(step):
    return {name: getattr(step, name) for name in ("observation", "reward", "terminated", "metric", "metric_mask")}


def test_shapes_and_the_end(task):
    state, observation = task.reset(6, generator())
    assert observation.shape == (6, task.observation_size)
    for time, step in enumerate(live(task, state, random_actions(task, 6)), 1):
        assert step.observation.shape == (6, task.observation_size)
        assert step.observation.dtype == step.reward.dtype == step.metric.dtype == torch.float32
        assert step.observation.abs().max() <= task.observation_bound
        assert step.reward.shape == step.metric.shape == step.metric_mask.shape == (6,)
        assert torch.equal(step.terminated, torch.full((6,), time == task.horizon))
    assert not step.observation.any()
    stops = [0, *(part.stop for part in task.slices.values())]
    assert [part.start for part in task.slices.values()] == stops[:-1]


def test_same_seed_same_lifetimes(task):
    actions = random_actions(task, 8)
    first, again, other = (live(task, task.reset(8, generator(seed))[0], actions) for seed in (1, 1, 2))
    same = [torch.equal(a.observation, b.observation) for a, b in zip(first, again, strict=True)]
    assert all(same)
    assert not all(torch.equal(a.observation, b.observation) for a, b in zip(first, other, strict=True))


def test_a_step_leaves_its_state_alone(task):
    state, _ = task.reset(5, generator())
    for action in random_actions(task, 5)[:10]:
        before = copy.deepcopy(state)
        step, again = task.step(state, action), task.step(state, action)
        assert same_state(before, state)
        assert all(torch.equal(value, parts(again)[name]) for name, value in parts(step).items())
        state = step.state


def test_a_population_lives_the_same_lifetimes(task):
    """Actions (P, B) give what P runs of B episodes give, also for a function of one individual under vmap."""
    actions = random_actions(task, 3, 7)
    state, _ = task.reset(7, generator())
    together = live(task, state, actions)

    def individual(actions):
        return Trajectory.of([step.outcome for step in live(task, state, actions)])

    mapped = torch.vmap(individual, in_dims=1)(actions)
    trace = Trajectory.of([step.outcome for step in together])
    assert trace.reward.shape == (3, task.horizon, 7)
    for index in range(3):
        alone = live(task, state, actions[:, index])
        for one, all_of_them in zip(alone, together, strict=True):
            assert torch.equal(one.observation, all_of_them.observation[index])
            assert torch.equal(one.terminated, all_of_them.terminated.expand(3, -1)[index])
        expected = Trajectory.of([step.outcome for step in alone])
        for got in (mapped.reward[index], trace.reward[index]):
            assert torch.equal(got, expected.reward)
        assert torch.equal(task.score(trace)[index], task.score(expected))
        assert torch.equal(task.score(mapped)[index], task.score(expected))


def test_replaced_episodes_run_on_their_own(task):
    """Episodes begun later than others in the same state proceed as they would alone."""
    actions = random_actions(task, 6)
    mask = torch.tensor([True, False, False, True, False, True])
    state, _ = task.reset(6, generator(1))
    old = live(task, state, actions[:4])[-1].state
    new = task.reset(3, generator(2))[0]
    state = task.replace(old, mask, new)
    for action in actions[4:]:
        step, old_step, new_step = task.step(state, action), task.step(old, action), task.step(new, action[mask])
        for name, value in parts(step).items():
            assert torch.equal(value[~mask], parts(old_step)[name][~mask]), name
            assert torch.equal(value[mask], parts(new_step)[name]), name
        state, old, new = step.state, old_step.state, new_step.state


def test_an_agents_rollout_is_what_the_environment_pays(task):
    agent = agents.make_for(task, hidden=6)
    with torch.no_grad():
        lived = agents.rollout(agent, task, 4, generator())
    envs = TaskVectorEnv(task, num_envs=4, autoreset_mode="Disabled")
    envs.reset(seed=0)
    metric, count = np.zeros(4), np.zeros(4)
    for time in range(task.horizon):
        _, reward, _, _, info = envs.step(task.action(lived.outputs[time]).numpy())
        assert np.array_equal(reward, lived.trajectory.reward[time].numpy())
        if info:
            metric, count = metric + info["metric"], count + info["_metric"]
    assert np.allclose(metric if task.metric_kind == "reward" else metric / count, lived.metric)
    assert torch.allclose(lived.loss, -lived.trajectory.reward.sum(0))
    assert lived.episode is None


def test_policies_live_the_agents_episodes(task):
    """Evaluation scores them on the same episodes for every agent, and what it draws for itself is not moved."""
    first = evaluate(agents.make_for(task, hidden=4), task, 150)
    another = evaluate(agents.make_for(task, hidden=5, seed=1), task, 150)
    assert first.references == another.references
    assert first.references.keys() == task.policies.keys()
    assert evaluate(agents.make_for(task, hidden=4), task, 150, references=False).scores.equal(first.scores)
    stream = make_generator(0, "evaluation")
    expected = []
    for size in (128, 22):
        expected.append(task.score(play(task, task.policies["oracle"], size, stream.clone_state())))
        task.reset(size, stream)
    assert first.references["oracle"] == pytest.approx(float(torch.cat(expected).mean()))


def test_policy_scores_leave_the_generator_where_it_is(task):
    stream = generator()
    before = stream.get_state()
    scores = policy_scores(task, 5, stream)
    assert torch.equal(stream.get_state(), before)
    assert all(score.shape == (5,) for score in scores.values())


def test_what_follows_the_end_counts_for_nothing():
    """Countdown's episodes have 2 to 6 steps; in step t it pays the sum of the actions so far, here t."""
    task = Countdown()
    _, first = task.reset(50, generator())

    def ones(observation, memory, state, generator):
        return torch.ones(len(observation), 1), memory

    trace = play(task, ones, 50, generator())
    length = first[:, 0]
    assert torch.equal(task.score(trace), length * (length + 1) / 2)
    assert torch.equal(trace.metric_mask.sum(0), length.long())
    assert torch.equal(trace.reward.sum(0), task.score(trace))


def test_the_uniform_policy_is_uniform():
    task = Countdown()
    task.action_bound = 2.0
    action, _ = task.uniform(torch.zeros(10_000, 2), None, None, generator())
    assert action.shape == (10_000, 1)
    assert action.abs().max() <= 2
    assert action.std().item() == pytest.approx(4 / math.sqrt(12), rel=0.03)
    chosen, _ = make_task("GridMaze").uniform(torch.zeros(10_000, 17), None, None, generator())
    assert chosen.bincount().tolist() == pytest.approx([2500] * 4, abs=220)  # five standard deviations


def test_commands_take_a_closed_loop(tmp_path, capsys, monkeypatch):
    """Train by evolution, evaluate beside the policies, compare (backpropagation does not apply) and report."""
    monkeypatch.setattr("evolution.experiments.comparison.run_isolated", run_in_process)
    spec, sizes = "TargetDiscovery,length=20", "--hidden 3 --budget 40 --evals 1 --eval-episodes 20"
    out = str(tmp_path / "run")
    assert cli.main(f"train {spec} --searcher pgpe,popsize=4,episodes=5 {sizes} --out {out}".split()) == 0
    assert "oracle: " in capsys.readouterr().out
    assert cli.main(["evaluate", out, "--episodes", "30", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["metric"], told["higher_is_better"]) == ("accuracy", True)
    assert told["references"].keys() == {"chance", "oracle"}
    both = f"compare --tasks {spec} --rules hebbian --searchers backprop pgpe,popsize=4,episodes=5 --seeds 1 {sizes}"
    assert cli.main([*both.split(), "--out", str(tmp_path / "both")]) == 0
    printed = capsys.readouterr().out
    assert "skipped" in printed
    assert "reward only" in printed
    assert "oracle" in printed
    assert cli.main(["report", str(tmp_path / "both")]) == 0


def test_transfer_shows_the_policies(tmp_path, capsys):
    words = "transfer hebbian --tasks GridMaze,length=5 --retrainings 3 --out"
    assert cli.main([*words.split(), str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "(random)" in printed
    assert "(oracle)" not in printed


@pytest.mark.parametrize("name", ["GridMaze", "TargetDiscovery"])
def test_record_video_films_a_closed_loop(name, tmp_path):
    env = gym.make(f"plastic_envs/{name}-v0", render_mode="rgb_array", length=8)
    env = RecordVideo(env, str(tmp_path / "films"), disable_logger=True)
    env.reset(seed=0)
    for _ in range(8):
        env.step(env.action_space.sample())
    env.close()
    assert [film.suffix for film in (tmp_path / "films").iterdir()] == [".mp4"]


def test_other_values_are_refused_by_name():
    for spec in (
        "GridMaze,size=8", "GridMaze,size=3", "GridMaze,size=101",
        "GridMaze,length=0", "GridMaze,reward=-1", "GridMaze,wall_penalty=-0.1",
        "TargetDiscovery,n_cues=1", "TargetDiscovery,n_cues=5,n_bits=2", "TargetDiscovery,n_bits=53",
        "TargetDiscovery,n_shown=4", "TargetDiscovery,max_blanks=-1", "TargetDiscovery,length=7",
    ):  # fmt: skip
        argument = spec.rpartition(",")[2].partition("=")[0]
        with pytest.raises(UsageError, match=f"^{argument} must be"):
            make_task(spec)
