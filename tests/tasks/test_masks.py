"""Values at steps that a mask leaves out, or after an episode's end, change no bit of what counts."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import agents
from agents.normalisation import RunningMeanStd
from evolution import evaluate, make_searcher
from evolution.evaluation.evaluate import reference_scores
from evolution.searchers.policy_gradient.lives import live
from plastic_envs import (
    TASKS,
    WORLDS,
    Episode,
    Step,
    SupervisedTask,
    Task,
    TaskEnv,
    TaskVectorEnv,
    Trajectory,
    UsageError,
    layout,
    make_task,
    play,
)
from plastic_envs.core.world_task import WorldTask
from plastic_envs.envs.parallel_env import TaskParallelEnv
from plastic_envs.tasks.completion import CompletionTask

NUMBERS = [math.nan, math.inf, -math.inf, 1e38, -3e38]
CLASSES = [-100, 99, -(2**63), 2**63 - 1]
SMALL = {
    "CueReward": "CueReward,n_show=3,n_query=3,loss_steps=query",
    "FewShotRegression": "FewShotRegression,n_train=3,n_test=3,loss_steps=test",
    "PatternCompletion": "PatternCompletion,n_bits=6,n_patterns=2",
    "ImageCompletion": "ImageCompletion,n_images=1,n_rounds=1,n_show=2",
    "OnlineClassification": "OnlineClassification,n_train=6,n_query=4",
    "GridMaze": "GridMaze,size=5,length=9",
    "TargetDiscovery": "TargetDiscovery,length=12",
    "Foraging": "Foraging,size=8,n_agents=2,length=6",
    "RepeatedGame": "RepeatedGame,length=5",
    "OneAgent": "OneAgent,world=(RepeatedGame,length=5)",
}
NAMES = [*TASKS, *WORLDS]
SUPERVISED = [name for name in TASKS if issubclass(TASKS.load(name), SupervisedTask)]
LOOPS = [name for name in NAMES if name not in SUPERVISED]


def make(name):
    return make_task(SMALL.get(name, name))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def garbage(task):
    return CLASSES if task.action_kind == "discrete" else NUMBERS


def spoilt(episode, value, mask=None):
    """The episode with a value at all targets that the mask leaves out; by default, at those that neither counts."""
    counts = episode.loss_mask | episode.metric_mask if mask is None else mask
    counts = counts if episode.targets.dim() == 2 else counts.unsqueeze(-1)
    return replace(episode, targets=torch.where(counts, episode.targets, torch.full_like(episode.targets, value)))


def same(one, other):
    """Whether tensors, or dicts and sequences of them, agree to the last bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        return same(list(one), list(other)) if one.dtype == object else np.array_equal(one, other)
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.mark.parametrize("name", SUPERVISED)
def test_loss_and_metric_look_at_nothing_that_their_mask_leaves_out(name):
    task = make(name)
    episode = task.sample(4, generator(1))
    if not isinstance(task, CompletionTask):  # which scores the last step alone, and no other
        masks = torch.rand(2, task.horizon, 4, generator=generator(2)) < 0.5
        masks[:, -1] = True
        episode = replace(episode, loss_mask=masks[0], metric_mask=masks[1])
    outputs = torch.randn(2, task.horizon, 4, task.output_size, generator=generator(3))
    for measure, mask in ((task.loss, episode.loss_mask), (task.metric, episode.metric_mask)):
        expected, *gradient = _with_gradient(measure, outputs, episode)
        for number in NUMBERS:
            said = outputs.where(mask.unsqueeze(-1), number)
            assert same([expected, *gradient], _with_gradient(measure, said, episode))
            for value in garbage(task):
                assert same([expected, *gradient], _with_gradient(measure, said, spoilt(episode, value, mask)))


def _with_gradient(measure, outputs, episode):
    outputs = outputs.clone().requires_grad_()
    measured = measure(outputs, episode)
    if not measured.requires_grad:
        return [measured]
    return [measured.detach(), torch.autograd.grad(measured.sum(), outputs)[0]]


@pytest.mark.parametrize("name", SUPERVISED)
def test_lifetimes_scores_and_environments_of_spoilt_episodes_are_those_of_clean_ones(name, monkeypatch):
    task = make(name)
    rule = "pool" if "label" in task.slices and task.slices["label"].start != 0 else "hebbian"

    def told():
        agent = agents.make_for(task, rule=rule, normalise_observations=rule == "hebbian", seed=1, **sizes(rule))
        lived = agents.rollout(agent, task, 3, generator(5))
        lived.loss.sum().backward()
        parts = [lived.loss.detach(), lived.metric, lived.outputs.detach(), agent.close_state(lived.state), lived.seen]
        parts += [parameter.grad for parameter in agent.parameters() if parameter.grad is not None]
        again = agents.rollout(agent, task, 3, generator(6), episode=task.sample(3, generator(5)))
        parts += [again.loss.detach(), dict(reference_scores(task, again.episode, 3, generator()))]
        for env in (TaskVectorEnv(task, num_envs=3), TaskVectorEnv(task, num_envs=3, autoreset_mode="SameStep")):
            env.reset(seed=2)
            action = np.zeros(env.action_space.shape, env.action_space.dtype)
            parts += [env.step(action)[1:] for _ in range(task.horizon)]
        single = TaskEnv(task)
        single.reset(seed=3)
        action = np.zeros(single.action_space.shape, single.action_space.dtype)
        return [*parts, *(single.step(action)[1:] for _ in range(task.horizon))]

    clean = task.sample
    expected = _detached(told())
    for value in garbage(task):
        monkeypatch.setattr(task, "sample", lambda *given, value=value: spoilt(clean(*given), value))
        assert same(expected, _detached(told()))


def sizes(rule):
    return {"hidden": "4"} if rule == "pool" else {"hidden": 4}


def _detached(tree):
    if isinstance(tree, dict):
        return {key: _detached(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_detached(value) for value in tree]
    return tree.detach() if isinstance(tree, torch.Tensor) else tree


@pytest.mark.parametrize("rule", ["hebbian", "gradient"])
@pytest.mark.parametrize("name", ["CueReward", "FewShotImageClassification"])
def test_updates_by_backpropagation_do_not_see_them(name, rule, monkeypatch):
    task = make(name)

    def trained():
        searcher = make_searcher("backprop,batch_size=4", task, agents.make_for(task, rule=rule, hidden=4))
        return [searcher.step(), searcher.step(), dict(searcher.agent().state_dict())]

    expected, clean = trained(), task.sample
    for value in garbage(task):
        monkeypatch.setattr(task, "sample", lambda *given, value=value: spoilt(clean(*given), value))
        assert same(expected, trained())


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("spec", ["backprop,batch_size=4", "a2c,batch_size=4", "ppo,batch_size=4,minibatch_size=2"])
def test_searches_by_gradients_go_on_where_their_caller_has_switched_them_off(spec, off):
    task = make_task("SequenceReproduction,seq_length=1,delay=0")

    def told():
        searcher = make_searcher(spec, task, agents.make_for(task, hidden=3, seed=1), seed=2)
        return [searcher.step(), searcher.step(), dict(searcher.agent().state_dict())]

    expected = told()
    with off():
        assert same(expected, told())


@pytest.mark.parametrize("value", NUMBERS[:3])
@pytest.mark.parametrize("left_out", ["loss_mask", "metric_mask", None])
def test_targets_that_a_mask_counts_are_finite(value, left_out):
    task = make_task("CueReward,n_show=2,n_query=2")
    episode = task.sample(3, generator())
    targets = episode.targets.clone()
    targets[2, 1] = value
    masks = {left_out: torch.arange(4).unsqueeze(1).expand(-1, 3) != 2} if left_out else {}
    agent = agents.make_for(task, hidden=2)
    with pytest.raises(UsageError, match=rf"^episode: targets must be finite .*, not {value} \(step 2 of episode 1"):
        agents.rollout(agent, task, 3, generator(), episode=replace(episode, targets=targets, **masks))
    neither = {name: torch.arange(4).unsqueeze(1).expand(-1, 3) != 2 for name in ("loss_mask", "metric_mask")}
    assert (
        agents.rollout(agent, task, 3, generator(), episode=replace(episode, targets=targets, **neither))
        .loss.isfinite()
        .all()
    )


@pytest.mark.parametrize("value", CLASSES)
def test_classes_that_a_mask_counts_are_classes(value, monkeypatch):
    task = make_task("FewShotImageClassification")
    clean = task.sample

    def sample(size, draws):
        episode = clean(size, draws)
        targets = episode.targets.clone()
        targets[-1, 0] = value
        return replace(episode, targets=targets)

    monkeypatch.setattr(task, "sample", sample)
    for use in (lambda: TaskEnv(task).reset(seed=0), lambda: evaluate(agents.make_for(task, hidden=2), task, 2)):
        with pytest.raises(
            UsageError, match=rf"sample: targets must be classes from 0 to 4 .*, not {value} \(step 9 of ep"
        ):
            use()


@pytest.mark.parametrize("value", NUMBERS[:3])
def test_inputs_are_finite_at_every_step_as_agents_see_them_all(value, monkeypatch):
    task = make_task("SequenceReproduction,seq_length=2,delay=1")
    clean = task.sample

    def sample(size, draws):
        episode = clean(size, draws)
        episode.inputs[2, -1, 1] = value
        return episode

    monkeypatch.setattr(task, "sample", sample)
    agent = agents.make_for(task, hidden=2)
    for use in (
        lambda: agents.rollout(agent, task, 2, generator()),
        lambda: TaskVectorEnv(task, num_envs=2).reset(seed=0),
        lambda: make_searcher("backprop", task, agent).step(),
        lambda: agents.rollout(agent, task, 2, generator(), episode=sample(2, generator())),
    ):
        with pytest.raises(UsageError, match=rf"inputs must be finite, not {value} \(step 2 of episode"):
            use()


def test_masks_that_count_nothing_are_refused_of_given_episodes_too():
    task = make_task("CueReward")
    episode = task.sample(2, generator())
    with pytest.raises(UsageError, match="episode: loss_mask must be true for at least one step of every episode"):
        agents.rollout(
            agents.make_for(task), task, 2, generator(), episode=replace(episode, loss_mask=~episode.loss_mask)
        )


class Uneven(Task):
    """Episodes of 1 to 5 steps; `spoilt` stands in all that a step gives after an episode's end, or for no metric."""

    horizon, output_size, metric_kind = 5, 2, "squared error"
    slices = layout({"left": 1, "action": 2})

    def __init__(self, *, kind="box", spoilt=0.0, normalise=True, places=("observation", "reward", "metric")):
        self.action_kind, self.spoilt, self.normalise_observations, self.places = kind, spoilt, normalise, places

    def reset(self, batch_size, generator):
        left = torch.randint(1, 6, (batch_size,), generator=generator)
        return (left, torch.zeros(batch_size, dtype=torch.int64)), self.look(left, torch.zeros(batch_size, 2))

    def look(self, left, action):
        return torch.cat([left.float().unsqueeze(-1).expand(*action.shape[:-1], 1), action], -1)

    def step(self, state, action):
        left, time = state[0] - 1, state[1] + 1
        shown = nn.functional.one_hot(action, 2).float() if self.action_kind == "discrete" else action
        ended, past = left <= 0, left < 0
        odd = time % 2 == 1
        seen = self.look(left, shown).masked_fill(ended.unsqueeze(-1), self.garbage("observation"))
        # by a product, so that a gradient that comes back through it is not a number
        reward = -shown.square().sum(-1) * torch.where(past, self.garbage("reward"), 1.0)
        metric = (shown - 1).square().sum(-1) * torch.where(past | ~odd, self.garbage("metric"), 1.0)
        terminated = ended & ~(past & ~odd) if self.spoilt else ended  # of those that have ended it says anything
        return Step((left, time), seen, reward, terminated.expand(reward.shape), metric, odd.expand(reward.shape))

    def garbage(self, place):
        return self.spoilt if place in self.places else 0.0


@pytest.mark.parametrize("spoil", NUMBERS)
@pytest.mark.parametrize("kind", ["box", "discrete"])
@pytest.mark.parametrize("network", ["self-modulated", "plastic-rnn", "hebbian-mlp"])
@pytest.mark.parametrize("population", [None, "batched", "mapped"])
def test_what_follows_an_end_changes_nothing(spoil, kind, network, population, monkeypatch):
    rule = "abcd" if network == "hebbian-mlp" else "hebbian"

    def told(task):
        agent = agents.make_for(task, rule=rule, network=network, seed=2, hidden=4 if rule == "hebbian" else "4")
        if population == "mapped":
            monkeypatch.setattr(type(agent), "takes_population", lambda *_: False)
        parameters = None
        if population:
            drawn = generator(7)
            parameters = {
                name: value + 0.1 * torch.randn(3, *value.shape, generator=drawn)
                for name, value in agent.named_parameters()
            }
        lived = agents.rollout(agent, task, 6, generator(3), parameters=parameters)
        agent.normaliser.update(lived.seen)
        normaliser = list(agent.normaliser.buffers())
        parts = [lived.loss, lived.metric, lived.trajectory, lived.seen, lived.outputs, lived.steps, normaliser]
        return _detached([*parts, agent.close_state(lived.state)])

    assert same(told(Uneven(kind=kind)), told(Uneven(kind=kind, spoilt=spoil)))


@pytest.mark.parametrize("spoil", NUMBERS)
@pytest.mark.parametrize("place", ["observation", "reward", "metric"])
def test_no_gradient_comes_back_from_behind_an_end(spoil, place):
    """A closed loop whose rewards have a gradient by the actions."""

    def gradient(task):
        agent = agents.make_for(task, hidden=3, network="plastic-mlp", rule="none", seed=1)
        agents.rollout(agent, task, 6, generator(3)).loss.sum().backward()
        return [parameter.grad for parameter in agent.parameters()]

    clean = gradient(Uneven(normalise=False))
    assert any(part.any() for part in clean)
    assert same(clean, gradient(Uneven(normalise=False, spoilt=spoil, places=(place,))))


@pytest.mark.parametrize("spoil", NUMBERS)
def test_searches_by_reward_and_evaluation_do_not_see_what_follows_an_end(spoil):
    def told(task):
        agent = agents.make_for(task, hidden=3, seed=1)
        parts = [evaluate(agent, task, 20, references=False).scores]
        parts += [play(task, task.uniform, 8, generator(2))]
        lives = live(agent, task, 4, generator(4))
        parts += [getattr(lives, name) for name in ("observations", "actions", "rewards", "active", "outputs")]
        for spec in ("a2c,batch_size=4", "ppo,batch_size=4,minibatch_size=2,n_epochs=2", "pgpe,popsize=4,episodes=3"):
            searcher = make_searcher(spec, task, agent, seed=1)
            parts += [searcher.step(), searcher.step(), dict(searcher.agent().state_dict())]
        return _detached(parts)

    assert same(told(Uneven(kind="discrete")), told(Uneven(kind="discrete", spoilt=spoil)))


@pytest.mark.parametrize("spoil", NUMBERS)
@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_environments_show_zeros_after_an_end_and_no_metric_that_does_not_count(spoil, mode):
    def told(task):
        envs = TaskVectorEnv(task, num_envs=5, autoreset_mode=mode)
        trace = [envs.reset(seed=0)]
        for step in range(12):
            action = np.full((5, 2), 0.1 * step, np.float32)
            trace.append(envs.step(action))
            if mode == "Disabled" and trace[-1][2].any():
                trace.append(envs.reset(options={"reset_mask": trace[-1][2]}))
            final = trace[-1][-1].pop("final_obs", None)
            trace.append([] if final is None else [part for part in final if part is not None])
        single = TaskEnv(task)
        trace.append(single.reset(seed=1))
        while True:
            trace.append(single.step(np.zeros(2, np.float32)))
            if trace[-1][2]:
                return trace

    assert same(told(Uneven()), told(Uneven(spoilt=spoil)))


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("value", NUMBERS)
def test_registered_closed_loops_hold_with_garbage_where_nothing_counts(name, value, monkeypatch):
    task = make(name)

    def told():
        agent = agents.make_for(task, hidden=3, seed=1, normalise_observations=True)
        lived = agents.rollout(agent, task, 2 * task.drawn_together, generator(1))
        return _detached([lived.loss, lived.metric, lived.trajectory, lived.seen, agent.close_state(lived.state)])

    expected, step = told(), task.step

    def spoil(state, action):
        given = step(state, action)
        return given._replace(
            observation=given.observation.masked_fill(given.terminated.unsqueeze(-1), value),
            metric=given.metric.where(given.metric_mask, value),
        )

    monkeypatch.setattr(task, "step", spoil)
    assert same(expected, told())


def test_worlds_of_pettingzoo_show_zeros_after_their_end(monkeypatch):
    task = make("RepeatedGame")
    step = task.step

    def spoil(state, action):
        given = step(state, action)
        return given._replace(observation=given.observation.masked_fill(given.terminated.unsqueeze(-1), math.nan))

    monkeypatch.setattr(task, "step", spoil)
    env = TaskParallelEnv(task)
    env.reset(seed=0)
    while env.agents:
        seen = env.step(dict.fromkeys(env.agents, 0))[0]
    assert not any(part.any() for part in seen.values())


class Mortal(WorldTask):
    """Three agents to a world who live 1 to 5 steps each; `spoilt` is what those who are dead see and are paid."""

    horizon, output_size, metric_kind, action_kind, agents_per_world = 5, 2, "reward", "discrete", 3
    slices = layout({"done": 1})

    def __init__(self, *, spoilt=0.0):
        self.spoilt = spoilt
        self.policies = {"random": self.uniform}

    def reset(self, batch_size, generator):
        self.worlds(batch_size)
        return (torch.randint(1, 6, (batch_size,), generator=generator),), torch.zeros(batch_size, 1)

    def step(self, state, action):
        left, paid = state[0] - 1, action + 1.0
        reward = paid.masked_fill(left < 0, self.spoilt)
        seen = paid.masked_fill(left <= 0, self.spoilt).unsqueeze(-1)
        ended = (left <= 0).expand(reward.shape)
        return Step((left,), seen, reward, ended, reward, torch.ones_like(ended))


@pytest.mark.parametrize("spoil", NUMBERS)
def test_the_dead_of_a_world_change_nothing(spoil):
    def told(task):
        agent = agents.make_for(task, hidden=3, seed=1, normalise_observations=True)
        lived = agents.rollout(agent, task, 6, generator(1))
        score = evaluate(agent, task, 6)
        parts = [lived.loss, lived.metric, lived.trajectory, lived.seen, score.scores, dict(score.references)]
        for spec in ("a2c,batch_size=6", "pgpe,popsize=4,episodes=6"):
            parts += [make_searcher(spec, task, agent, seed=1).step()]
        alone = make_task("OneAgent", world=task)
        parts += [agents.rollout(agents.make_for(alone, hidden=3, seed=1), alone, 4, generator(2)).trajectory]
        env = TaskParallelEnv(task)
        parts += [env.reset(seed=3)]
        while env.agents:
            parts += [env.step(dict.fromkeys(env.agents, 1))]
        return _detached(parts)

    assert same(told(Mortal()), told(Mortal(spoilt=spoil)))


def test_who_has_ended_is_no_agent_of_pettingzoo_any_more():
    env = TaskParallelEnv(Mortal())
    env.reset(seed=3)
    lived = dict(zip(env.possible_agents, Mortal().reset(3, generator(3))[0][0].tolist(), strict=True))
    for time in range(1, 6):
        here = [agent for agent in env.possible_agents if lived[agent] >= time]
        assert env.agents == here
        if not here:
            return
        seen, paid, ended, *_ = env.step(dict.fromkeys(here, 1))
        assert list(seen) == list(paid) == list(ended) == here
        assert ended == {agent: lived[agent] == time for agent in here}
        assert paid == dict.fromkeys(here, 2.0)
        assert {agent: float(part[0]) for agent, part in seen.items()} == {
            agent: 2.0 * (not ended[agent]) for agent in here
        }


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_copies_that_begin_anew_hold_whole_worlds(mode):
    envs = TaskVectorEnv(Mortal(), num_envs=6, autoreset_mode=mode)
    envs.reset(seed=0)
    with pytest.raises(UsageError, match=r"^agents of a world begin and end together: reset all 3 or none"):
        all(envs.step(np.ones(6, np.int64)) for _ in range(5))


class Faulty(Uneven):
    """Gives a value in one place in the step `at` of every episode that has not ended."""

    def __init__(self, place, value, at=1):
        super().__init__(kind="discrete")
        self.place, self.value, self.at = place, value, at

    def reset(self, batch_size, generator):
        (_, time), _ = super().reset(batch_size, generator)
        left = torch.full((batch_size,), 5)
        return (left, time), self.look(left, torch.full((batch_size, 2), self.value if self.place == "reset" else 0.0))

    def step(self, state, action):
        given = super().step(state, action)
        if self.place == "reset" or int(state[1][0]) != self.at:
            return given
        return given._replace(**{self.place: torch.full_like(getattr(given, self.place), self.value)})


@pytest.mark.parametrize("value", NUMBERS[:3])
@pytest.mark.parametrize(
    ("place", "at", "message"),
    [
        ("reset", 0, "Faulty.reset must give finite observations, not {}"),
        ("observation", 1, "Faulty.step must give finite observations, not {}"),
        ("reward", 3, "Faulty.step must give finite rewards, not {}"),
        ("metric", 2, "Faulty.step must give finite metrics where metric_mask is set, not {}"),
    ],
)
def test_what_is_not_finite_where_it_counts_is_refused(place, at, message, value):
    task = Faulty(place, value, at)
    agent = agents.make_for(task, hidden=3)
    population = {name: torch.stack([part, part]) for name, part in agent.named_parameters()}
    # of an observation that a rollout has seen the farthest number from 0 is known, without its sign
    told = message.format("-?inf" if math.isinf(value) else "nan")

    def env(made):
        made.reset(seed=0)
        for _ in range(5):
            made.step(np.zeros(made.action_space.shape, np.int64))

    for use in (
        lambda: agents.rollout(agent, task, 2, generator()),
        lambda: agents.rollout(agent, task, 2, generator(), parameters=population),
        lambda: play(task, task.uniform, 2, generator()),
        lambda: evaluate(agent, task, 3),
        lambda: make_searcher("a2c,batch_size=2", task, agent).step(),
        lambda: make_searcher("snes,popsize=2", task, agent).step(),
        lambda: env(TaskEnv(task)),
        lambda: env(TaskVectorEnv(task, num_envs=2)),
    ):
        with pytest.raises(UsageError, match=told):
            use()


def test_where_a_fault_stands_is_told_by_step_and_episode():
    agent = agents.make_for(Faulty("reward", math.nan, 3), hidden=3)
    with pytest.raises(UsageError, match=r"nan \(step 3 of episode 0, counted from 0\)$"):
        agents.rollout(agent, Faulty("reward", math.nan, 3), 2, generator())


class Blown(Uneven):
    """Pays minus the square of the action, whatever it is."""

    def reset(self, batch_size, generator):
        (_, time), _ = super().reset(batch_size, generator)
        left = torch.full((batch_size,), 5)
        return (left, time), self.look(left, torch.zeros(batch_size, 2))


@pytest.mark.parametrize("weight", [math.nan, math.inf, 1e30])
def test_an_agent_that_diverges_is_not_the_tasks_fault(weight):
    """Neither in rollouts, where it is a loss that is not finite, nor in environments."""
    task = Blown(normalise=False)
    agent = agents.make_for(task, hidden=3, network="plastic-mlp", rule="none").requires_grad_(False)
    for parameter in agent.parameters():
        parameter.fill_(weight)
    lived = agents.rollout(agent, task, 2, generator())
    assert not lived.loss.isfinite().any()
    env = TaskEnv(task)
    env.reset(seed=0)
    with np.errstate(over="ignore"):
        assert not math.isfinite(env.step(np.full(2, weight, np.float32))[1])


@pytest.mark.parametrize("spec", ["OnlineClassification,n_train=6,n_query=4", "GridMaze,size=5,length=9"])
def test_outputs_that_are_no_numbers_have_no_score(spec):
    """Though the largest of them has a number, so that something is done."""
    task = make_task(spec)
    agent = agents.make_for(task, hidden=3)
    sound = {name: part.detach() for name, part in agent.named_parameters()}
    population = {name: torch.stack([part, torch.full_like(part, math.nan)]) for name, part in sound.items()}
    lived = agents.rollout(agent, task, 3, generator(), parameters=population)
    assert lived.loss.isfinite().tolist() == lived.metric.isfinite().tolist() == [[True] * 3, [False] * 3]


def test_moments_count_what_counts_alone():
    seen = torch.randn(4, 3, generator=generator())
    counts = torch.tensor([True, False, True, False])
    for value in NUMBERS:
        assert same(RunningMeanStd.of(seen, counts), RunningMeanStd.of(seen.where(counts.unsqueeze(-1), value), counts))


def test_scores_count_what_counts_alone_and_a_mean_of_nothing_is_refused():
    task = Uneven()
    metric, mask = torch.tensor([[1.0, math.nan], [math.inf, 3.0]]), torch.tensor([[True, False], [False, True]])
    trace = Trajectory(torch.zeros(2, 2), metric, mask, torch.ones(2, 2, dtype=torch.bool))
    assert task.score(trace).tolist() == [1, 3]
    with pytest.raises(UsageError, match=r"Uneven: the metric is a mean .* counts none of episode 1"):
        task.score(trace._replace(metric_mask=torch.tensor([[True, False], [True, False]])))


class Handmade(SupervisedTask):
    """A user's task with targets of NaN where none are given, and a loss of its own that multiplies by the mask."""

    def __init__(self, *, blank):
        self.horizon, self.slices, self.output_size, self.blank = 3, layout({"x": 1}), 1, blank

    def sample(self, batch_size, generator):
        inputs = torch.rand(3, batch_size, 1, generator=generator)
        asked = (torch.arange(3) == 2).unsqueeze(1).expand(-1, batch_size)
        return Episode(inputs, inputs[:1].where(asked.unsqueeze(-1), self.blank), asked, asked, {})

    def loss(self, outputs, episode):
        return ((outputs - episode.targets).square().mean(-1) * episode.loss_mask).sum(-2) / episode.loss_mask.sum(-2)


def test_a_loss_of_ones_own_is_not_spoilt_either():
    def told(blank):
        task = Handmade(blank=blank)
        agent = agents.make_for(task, hidden=3)
        loss = agents.rollout(agent, task, 4, generator()).loss
        loss.sum().backward()
        return [loss.detach(), *(parameter.grad for parameter in agent.parameters())]

    assert all(same(told(0.0), told(value)) for value in NUMBERS)
