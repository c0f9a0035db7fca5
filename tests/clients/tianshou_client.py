"""Tianshou: PPO collects in its vector environments, in one process and in several, and is updated."""

import gymnasium
import torch
from tianshou.algorithm import PPO
from tianshou.algorithm.algorithm_base import policy_within_training_step
from tianshou.algorithm.modelfree.reinforce import ProbabilisticActorPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import BaseVectorEnv, DummyVectorEnv, SubprocVectorEnv
from tianshou.utils.net.common import Net
from tianshou.utils.net.continuous import ContinuousActorProbabilistic, ContinuousCritic
from tianshou.utils.net.discrete import DiscreteActor, DiscreteCritic
from torch.distributions import Categorical, Distribution, Independent, Normal

COPIES, EPISODES = 3, 6


def normal(told: tuple[torch.Tensor, torch.Tensor]) -> Distribution:
    """Of a continuous actor's mean and standard deviation."""
    return Independent(Normal(*told), 1)


def make_ppo(env: gymnasium.Env) -> PPO:
    """PPO with a small network, for either kind of action."""
    net = Net(state_shape=env.observation_space.shape, hidden_sizes=[16])
    discrete = isinstance(env.action_space, gymnasium.spaces.Discrete)
    if discrete:
        actor = DiscreteActor(preprocess_net=net, action_shape=int(env.action_space.n), softmax_output=False)
        critic = DiscreteCritic(preprocess_net=net)
    else:
        actor = ContinuousActorProbabilistic(preprocess_net=net, action_shape=env.action_space.shape, unbounded=True)
        critic = ContinuousCritic(preprocess_net=net)
    dist = (lambda logits: Categorical(logits=logits)) if discrete else normal
    policy = ProbabilisticActorPolicy(
        actor=actor, dist_fn=dist, action_space=env.action_space, action_scaling=not discrete,
        action_bound_method=None if discrete else "clip",
    )  # fmt: skip
    return PPO(policy=policy, critic=critic, optim=AdamOptimizerFactory())


def learn(name: str, kind: type[BaseVectorEnv]) -> None:
    """Collect whole episodes, and update once."""
    env = gymnasium.make(name)
    algorithm = make_ppo(env)
    envs = kind([lambda: gymnasium.make(name) for _ in range(COPIES)])
    collector = Collector(algorithm, envs, VectorReplayBuffer(5000, COPIES))
    collector.reset()
    told = collector.collect(n_episode=EPISODES)
    assert told.n_collected_episodes == EPISODES
    assert set(told.lens) == {env.unwrapped.task.horizon}
    with policy_within_training_step(algorithm.policy):
        algorithm.update(buffer=collector.buffer, batch_size=64, repeat=1)
    envs.close()


USES = {
    "PPO in DummyVectorEnv": lambda name: learn(name, DummyVectorEnv),
    "PPO in SubprocVectorEnv": lambda name: learn(name, SubprocVectorEnv),
}
