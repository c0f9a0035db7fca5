"""Agents as policies of Stable-Baselines3, and the searchers a2c and ppo."""

import io
import math

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor

import agents
from agents.agent import map_state
from evolution import make_searcher
from evolution.runs.checkpoint import same_state
from evolution.searchers.policy_gradient.a2c import EpisodicA2C
from evolution.searchers.policy_gradient.lives import live, relive
from evolution.searchers.policy_gradient.ppo import EpisodicPPO
from evolution.searchers.policy_gradient.sb3_policy import AgentPolicy, pack, unpack
from plastic_envs import TaskEnv, TaskVectorEnv, UsageError, make_task
from plastic_envs.envs.sb3_vec_env import SB3VecEnv
from tests.envs.test_envs import Countdown

MAZE = "GridMaze,size=5,length=15,wall_penalty=0.5"
CUES = "CueReward,n_cues=2,n_stimulus=3,n_show=3,n_query=3"
AGENTS = [
    (MAZE, {"rule": "decaying-hebb", "network": "plastic-rnn", "hidden": 7}),
    (MAZE, {"rule": "additive-hebb,modulation=tanh,retroactive=true", "network": "plastic-rnn", "hidden": 5}),
    (MAZE, {"rule": "hebbian", "hidden": 6}),
    (MAZE, {"rule": "none", "cell": "lstm", "hidden": 6}),
    (MAZE, {"rule": "none", "network": "hebbian-mlp,birth=coevolve", "hidden": 6}),
    (MAZE, {"rule": "abcd", "network": "hebbian-mlp,recurrent=true", "hidden": 6}),
    (CUES, {"rule": "gradient", "hidden": 6}),
    (CUES, {"rule": "abcd", "network": "hebbian-mlp", "hidden": 6}),
    ("gym:CartPole-v1", {"rule": "hebbian", "hidden": 4}),
    ("FewShotImageClassification,n_way=2,n_query=2", {"rule": "hebbian", "hidden": 4}),
]
each_agent = pytest.mark.parametrize(("spec", "settings"), AGENTS)
either = pytest.mark.parametrize("algorithm", ["a2c,batch_size=6", "ppo,batch_size=6,minibatch_size=3,n_epochs=2"])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def policy_of(task, agent, **options):
    return AgentPolicy(task.observation_space, task.action_space, lambda _: 1e-3, agent=agent, **options)


def lived(task, policy, batch_size=4, seed=0):
    log_std = getattr(policy, "log_std", None)
    return live(policy.agent, task, batch_size, generator(seed), log_std)


def single_steps(policy, lives):
    """Outputs and hidden activity (or what was observed) of a plain loop of single steps over what was observed."""
    agent, state, outputs, activities = policy.agent, None, [], []
    state = agent.initial_state((lives.observations.shape[1],), lives.birth)
    for observation in lives.observations:
        output, state = agent(observation, state)
        outputs.append(output)
        activities.append(state.get("hidden", observation))
    return torch.stack(outputs), torch.stack(activities)


@each_agent
def test_lived_relived_and_single_steps_agree(spec, settings):
    """The same outputs and activities, and so values, probabilities and gradients."""
    task = make_task(spec)
    policy = policy_of(task, agents.make_for(task, seed=1, **settings))
    torch.nn.init.normal_(policy.value_net.weight, generator=generator(5))
    lives = lived(task, policy)
    assert lives.active[0].all()
    assert torch.equal(lives.rewards.where(lives.active, 0.0), lives.rewards)
    assert not lives.rewards.requires_grad
    wanted = None
    for outputs, activities in (
        single_steps(policy, lives),
        (lives.outputs, lives.activity),
        relive(policy.agent, lives),
    ):
        values, log_probs, entropy = policy.judge(
            outputs[lives.active], activities[lives.active], lives.actions[lives.active]
        )
        policy.zero_grad()
        (values.sum() + (log_probs * log_probs.detach()).sum()).backward()
        gradients = [part.grad.clone() for part in policy.parameters() if part.grad is not None]
        assert gradients
        found = [values, log_probs, entropy, *gradients]
        wanted = found if wanted is None else wanted
        assert len(wanted) == len(found)
        for mine, its in zip(found, wanted, strict=True):
            torch.testing.assert_close(mine, its, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("spec", "settings"), [row for row in AGENTS if row[1]["rule"] != "abcd"])
def test_predict_carries_the_state_as_single_steps_do(spec, settings):
    task = make_task(spec)
    agent = agents.make_for(task, seed=1, **settings)
    policy = policy_of(task, agent)
    observations = torch.stack([task.reset(3, generator(seed))[1] for seed in range(4)])
    state, packed = None, None
    for observation in observations:
        output, state = agent(observation, state)
        actions, packed = policy.predict(observation.numpy(), packed, np.zeros(3, np.bool_), deterministic=True)
        assert np.array_equal(actions, task.action(output).detach().numpy())
        assert np.array_equal(packed[0], pack(state).detach().numpy())
        assert same_state(unpack(torch.from_numpy(packed[0]), state), map_state(state, Tensor.detach))
    actions, after = policy.predict(observations[0].numpy(), packed, np.array([True, False, True]), deterministic=True)
    fresh = policy.predict(observations[0].numpy(), deterministic=True)[1][0]
    old = policy.predict(observations[0].numpy(), packed, deterministic=True)[1][0]
    assert np.array_equal(after[0], np.stack([fresh[0], old[1], fresh[2]]))
    alone, _ = policy.predict(observations[0, 0].numpy(), deterministic=True)
    assert np.array_equal(alone, policy.predict(observations[0, :1].numpy(), deterministic=True)[0][0])


def test_births_are_drawn_anew_for_newborns_only():
    task = make_task(CUES)
    policy = policy_of(task, agents.make_for(task, rule="abcd", network="hebbian-mlp"))
    observation = task.reset(2, generator())[1].numpy()
    first, second = (policy.predict(observation)[1][0] for _ in range(2))
    assert not np.array_equal(first, second)
    held = policy.predict(observation, (first,), np.array([False, True]))[1][0]
    assert not np.array_equal(held[1], policy.predict(observation, (first,))[1][0][1])
    assert np.array_equal(held[0], policy.predict(observation, (first,))[1][0][0])


def test_drawn_actions_have_the_probabilities_that_outputs_stand_for():
    task = make_task(MAZE)
    policy = policy_of(task, agents.make_for(task, rule="none", hidden=4, seed=3))
    for parameter in policy.agent.parameters():
        parameter.data.mul_(4)
    lives = lived(task, policy, 20_000)
    share = torch.nn.functional.one_hot(lives.actions[0], 4).float().mean(0)
    torch.testing.assert_close(share, lives.outputs[0, 0].softmax(-1).detach(), rtol=0, atol=0.015)
    assert lives.outputs[0, 0].softmax(-1).std() > 0.1
    task = make_task(CUES)
    policy = policy_of(task, agents.make_for(task, rule="none", hidden=4))
    policy.log_std.data.fill_(math.log(0.5))
    lives = lived(task, policy, 20_000)
    noise = (lives.actions - lives.outputs)[2].detach()
    assert abs(float(noise.mean())) < 0.02
    assert abs(float(noise.std()) - 0.5) < 0.01


def plain_returns(rewards, values, lengths, gamma, lam):
    """Advantages by the definition, episode by episode."""
    advantages = torch.zeros_like(rewards)
    for episode, length in enumerate(lengths):
        r, v = rewards[:length, episode], torch.cat([values[:length, episode], torch.zeros(1)])
        delta = r + gamma * v[1:] - v[:-1]
        for t in range(length):
            advantages[t, episode] = sum((gamma * lam) ** k * delta[t + k] for k in range(length - t))
    return advantages


@pytest.mark.parametrize("spec", [MAZE, "countdown"])
def test_gradient_of_an_update_is_that_of_a_plain_loop(spec):
    """Policy gradient, squared error of the value and entropy, through single steps and by the definition."""
    task = Countdown() if spec == "countdown" else make_task(spec)
    settings = {"rule": "decaying-hebb", "network": "plastic-rnn", "hidden": 5}
    gamma, lam, entropy, value = 0.8, 0.7, 0.2, 0.3
    options = f"batch_size=5,gamma={gamma},gae_lambda={lam},entropy={entropy},value={value},clip=null"
    searcher = make_searcher(f"a2c,{options}", task, agents.make_for(task, seed=1, **settings), seed=2)
    policy = searcher.algorithm.policy
    torch.nn.init.normal_(policy.value_net.weight, generator=generator(5))
    before = {name: part.detach().clone() for name, part in policy.named_parameters()}
    log_std = getattr(policy, "log_std", None)
    lives = live(policy.agent, task, 5, searcher.algorithm.generator.clone_state(), log_std)
    told = searcher.step()
    assert searcher.env_steps == int(lives.active.sum())
    assert told["loss"] == pytest.approx(-float(lives.rewards.sum(0).mean()))
    found = {name: part.grad.clone() for name, part in policy.named_parameters() if part.grad is not None}

    policy.load_state_dict(before)
    outputs, hidden = single_steps(policy, lives)
    values = (hidden @ policy.value_net.weight.T + policy.value_net.bias).squeeze(-1)
    if log_std is None:
        log_p = outputs.log_softmax(-1)
        log_probs, entropies = log_p.gather(-1, lives.actions.unsqueeze(-1)).squeeze(-1), -(log_p.exp() * log_p).sum(-1)
    else:
        normal = torch.distributions.Normal(outputs, log_std.exp())
        log_probs, entropies = normal.log_prob(lives.actions).sum(-1), normal.entropy().sum(-1)
    lengths = lives.active.sum(0).tolist()
    advantages = plain_returns(lives.rewards, values.detach(), lengths, gamma, lam)
    errors = advantages + values.detach() - values
    loss = (-advantages * log_probs - entropy * entropies + value * errors.square())[lives.active].mean()
    policy.zero_grad()
    loss.backward()
    assert found.keys() == {name for name, part in policy.named_parameters() if part.grad is not None}
    for name, part in found.items():
        torch.testing.assert_close(part, dict(policy.named_parameters())[name].grad, rtol=1e-3, atol=1e-5)


def test_ppo_begins_with_the_probabilities_of_the_episodes_it_lived():
    task = make_task(MAZE)
    agent = agents.make_for(task, rule="hebbian", hidden=5)
    searcher = make_searcher("ppo,batch_size=6,minibatch_size=6,n_epochs=1", task, agent)
    told = searcher.step()
    assert told["approx_kl"] < 1e-6
    assert told["clip_fraction"] == 0


def test_minibatches_are_whole_episodes_each_once():
    task = Countdown()
    searcher = make_searcher("ppo,batch_size=6,minibatch_size=2", task, agents.make_for(task, rule="none", hidden=3))
    buffer = searcher.algorithm.rollout_buffer
    lives = lived(task, searcher.algorithm.policy, 6)
    numbers = torch.arange(lives.rewards.numel()).view_as(lives.rewards).float()
    buffer.fill(lives, numbers, numbers, generator(3))
    got = list(buffer.get(2 * task.horizon))
    assert [sample.observations.rewards.shape[1] for sample in got] == [2, 2, 2]
    together = torch.cat([sample.old_log_prob for sample in got])
    assert together.sort().values.equal(numbers[lives.active].sort().values)
    for sample in got:
        assert torch.equal(sample.observations.actions[sample.observations.active], sample.actions)
    (whole,) = buffer.get()
    assert whole.old_log_prob.equal(numbers[lives.active])


@either
def test_the_algorithm_saves_loads_predicts_and_is_evaluated(algorithm):
    task = make_task(MAZE)
    agent = agents.make_for(task, rule="hebbian", hidden=5)
    agent(torch.zeros(task.observation_size))  # which has drawn a birth
    searcher = make_searcher(algorithm, task, agent)
    searcher.step()
    trained = searcher.algorithm
    file = io.BytesIO()
    trained.save(file)
    file.seek(0)
    loaded = type(trained).load(file, env=SB3VecEnv(TaskVectorEnv(task, num_envs=3, autoreset_mode="SameStep")))
    assert same_state(loaded.policy.state_dict(), trained.policy.state_dict())
    assert loaded.num_timesteps == searcher.env_steps
    loaded.learn(1, reset_num_timesteps=False)
    assert loaded.num_timesteps == searcher.env_steps + 3 * task.horizon
    file = io.BytesIO()
    trained.policy.save(file)
    file.seek(0)
    alone = AgentPolicy.load(file)
    observation = task.reset(4, generator())[1].numpy()
    assert np.array_equal(
        alone.predict(observation, deterministic=True)[0], trained.predict(observation, deterministic=True)[0]
    )
    envs = DummyVecEnv([lambda: TaskEnv(task)])
    envs.seed(7)
    rewards, lengths = evaluate_policy(alone, envs, 3, return_episode_rewards=True, warn=False)
    assert lengths == [task.horizon] * 3
    agent, env = searcher.agent(), TaskEnv(task)
    for index, reward in enumerate(rewards):
        observation, state, total, ended = env.reset(seed=7 if index == 0 else None)[0], None, 0.0, False
        while not ended:
            output, state = agent(torch.from_numpy(observation), state)
            observation, paid, ended, *_ = env.step(int(output.argmax()))
            total += paid
        assert reward == pytest.approx(total)


@pytest.mark.parametrize("kind", [EpisodicA2C, EpisodicPPO])
def test_an_algorithm_of_ones_own_with_callbacks_and_logger(kind):
    class Watch(BaseCallback):
        steps = rollouts = 0

        def _on_step(self):
            self.steps += 1
            return self.num_timesteps < 4 * 6 + 3

        def _on_rollout_end(self):
            self.rollouts += 1

    agent = agents.make_for(make_task(CUES), hidden=4)
    before = {name: part.clone() for name, part in agent.named_parameters()}
    envs = make_vec_env(lambda: TaskEnv(CUES), n_envs=4)
    models = [kind(AgentPolicy, envs, policy_kwargs={"agent": agent}, seed=seed, verbose=0) for seed in (0, 0, 1)]

    class Told(KVWriter):
        values = None

        def write(self, key_values, key_excluded, step=0):
            self.values = dict(key_values)

    watch, told = Watch(), Told()
    models[0].set_logger(Logger(folder=None, output_formats=[told]))
    models[0].learn(1000, callback=watch, log_interval=1)
    assert (watch.rollouts, watch.steps) == (1, 6 + 1)
    assert told.values["time/total_timesteps"] == 24
    assert told.values["rollout/ep_rew_mean"] == np.mean(
        [episode["r"] for episode in list(models[0].ep_info_buffer)[:4]]
    )
    assert models[0].ep_info_buffer[0]["l"] == 6
    assert same_state(before, {name: part.detach() for name, part in agent.named_parameters()})
    for model in models[1:]:
        model.learn(1)
    rewards = [[episode["r"] for episode in model.ep_info_buffer][:4] for model in models]
    assert rewards[0] == rewards[1] != rewards[2]


def test_what_cannot_be_is_said_in_one_sentence():
    task = make_task(CUES)
    agent = agents.make_for(task, hidden=4)
    with pytest.raises(UsageError, match="the agent was made for 5 observations and 1 outputs, not for"):
        policy_of(make_task(MAZE), agent)
    with pytest.raises(UsageError, match="use_sde"):
        policy_of(task, agent, use_sde=True)
    envs = make_vec_env("CartPole-v1")
    with pytest.raises(UsageError, match="EpisodicA2C needs environments of a task"):
        EpisodicA2C(AgentPolicy, envs, policy_kwargs={"agent": agent})
    labels = make_task("OnlineClassification,source=halfspace,n_train=3,n_query=3")
    pool = agents.make_for(labels, rule="pool,l1=0.1", hidden=[4])
    with pytest.raises(UsageError, match="has a penalty"):
        make_searcher("a2c", labels, pool)
    with pytest.raises(UsageError, match="leave out episode"):
        agents.rollout(agent, task, 2, generator(), episode=task.sample(2, generator()), act=lambda *_: None)


def test_a_gymnasium_environment_takes_what_the_policy_predicts():
    task = make_task("gym:Pendulum-v1")
    searcher = make_searcher("a2c,batch_size=2", task, agents.make_for(task, hidden=4))
    searcher.step()
    _, lengths = evaluate_policy(
        searcher.algorithm, gymnasium.make("Pendulum-v1"), 2, return_episode_rewards=True, warn=False
    )
    assert lengths == [200, 200]
