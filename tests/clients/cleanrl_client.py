"""Loops in the manner of CleanRL, in one file each: PPO, and PPO with an LSTM, on both kinds of vector environment."""

from collections.abc import Callable

import gymnasium
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal

COPIES, STEPS, UPDATES = 4, 128, 2


class Agent(nn.Module):
    """Actor and critic over a shared layer, with an LSTM between them if it is recurrent."""

    def __init__(self, envs: VectorEnv, recurrent: bool) -> None:
        super().__init__()
        space = envs.single_action_space
        self.discrete = isinstance(space, gymnasium.spaces.Discrete)
        self.body = nn.Sequential(nn.Linear(int(np.prod(envs.single_observation_space.shape)), 32), nn.Tanh())
        self.lstm = nn.LSTM(32, 32) if recurrent else None
        outputs = int(space.n) if self.discrete else int(np.prod(space.shape))
        self.actor, self.critic = nn.Linear(32, outputs), nn.Linear(32, 1)
        self.log_std = nn.Parameter(torch.zeros(outputs))

    def initial_state(self, batch: int) -> tuple[Tensor, Tensor]:
        """Of the LSTM."""
        return torch.zeros(1, batch, 32), torch.zeros(1, batch, 32)

    def forward(
        self, seen: Tensor, state: tuple[Tensor, Tensor], done: Tensor
    ) -> tuple[Distribution, Tensor, tuple[Tensor, Tensor]]:
        """Distribution of actions and value of observations (T, B, D); a state is zeroed where an episode begins."""
        hidden = self.body(seen)
        if self.lstm is not None:
            outputs = []
            for here, fresh in zip(hidden, done, strict=True):
                keep = (1 - fresh).view(1, -1, 1)
                told, state = self.lstm(here.unsqueeze(0), (keep * state[0], keep * state[1]))
                outputs.append(told)
            hidden = torch.cat(outputs)
        told = self.actor(hidden)
        dist = Categorical(logits=told) if self.discrete else Independent(Normal(told, self.log_std.exp()), 1)
        return dist, self.critic(hidden).squeeze(-1), state


def ppo(envs: VectorEnv, recurrent: bool, gamma: float = 0.99, decay: float = 0.95, clip: float = 0.2) -> None:
    """Two updates from 128 steps of each copy; every number must be finite and episodes must have been counted."""
    torch.manual_seed(0)
    agent = Agent(envs, recurrent)
    optimizer = torch.optim.Adam(agent.parameters(), 2.5e-4, eps=1e-5)
    seen = torch.as_tensor(envs.reset(seed=1)[0])
    done, state, episodes = torch.zeros(COPIES), agent.initial_state(COPIES), 0
    for _ in range(UPDATES):
        first, rows = state, []
        for _ in range(STEPS):
            with torch.no_grad():
                dist, value, state = agent(seen.unsqueeze(0), state, done.unsqueeze(0))
                action = dist.sample()[0]
            following, reward, terminated, truncated, infos = envs.step(action.numpy())
            episodes += int(infos["_episode"].sum()) if "episode" in infos else 0
            rows.append((seen, done, action, dist.log_prob(action.unsqueeze(0))[0], value[0], torch.as_tensor(reward)))
            seen = torch.as_tensor(following)
            done = torch.as_tensor(np.logical_or(terminated, truncated)).float()
        observations, dones, actions, log_probs, values, rewards = (
            torch.stack(part) for part in zip(*rows, strict=True)
        )
        with torch.no_grad():
            upcoming, ahead = agent(seen.unsqueeze(0), state, done.unsqueeze(0))[1][0], torch.zeros(COPIES)
            advantages = torch.zeros(STEPS, COPIES)
            following_done = done
            for step in reversed(range(STEPS)):
                alive = 1 - following_done
                ahead = rewards[step] + gamma * upcoming * alive - values[step] + gamma * decay * alive * ahead
                advantages[step], upcoming, following_done = ahead, values[step], dones[step]
        dist, value, _ = agent(observations, first, dones)
        again = dist.log_prob(actions)
        assert again.allclose(log_probs, rtol=1e-4, atol=1e-4)  # the update sees what was lived
        ratio = (again - log_probs).exp()
        scaled = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        policy = -torch.min(scaled * ratio, scaled * ratio.clamp(1 - clip, 1 + clip)).mean()
        loss = policy + 0.5 * (value - advantages - values).square().mean() - 0.01 * dist.entropy().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
        optimizer.step()
        assert loss.isfinite()
    horizon = envs.get_attr("task")[0].horizon
    assert episodes >= COPIES * (UPDATES * STEPS // (horizon + 1)) > 0 or horizon > UPDATES * STEPS
    envs.close()


def single(name: str) -> VectorEnv:
    """Gymnasium's vector environment over single ones, each in the wrappers that CleanRL takes."""

    def thunk() -> gymnasium.Env:
        env = gymnasium.wrappers.RecordEpisodeStatistics(gymnasium.wrappers.FlattenObservation(gymnasium.make(name)))
        if isinstance(env.action_space, gymnasium.spaces.Box):
            env = gymnasium.wrappers.NormalizeReward(gymnasium.wrappers.ClipAction(env))
        return env

    return gymnasium.vector.SyncVectorEnv([thunk] * COPIES)


class Copies(gymnasium.wrappers.vector.RecordEpisodeStatistics):
    """The package's own, counted by Gymnasium's wrapper, which does not hand on what it is asked by name."""

    def get_attr(self, name: str) -> tuple:
        """Of each copy."""
        return self.env.get_attr(name)


def copies(name: str) -> VectorEnv:
    """The package's own vector environment."""
    return Copies(gymnasium.make_vec(name, num_envs=COPIES))


def use(make: Callable[[str], VectorEnv], recurrent: bool) -> Callable[[str], None]:
    """A client: PPO on the environments of an id."""
    return lambda name: ppo(make(name), recurrent)


USES = {
    "PPO in SyncVectorEnv": use(single, recurrent=False),
    "PPO in make_vec": use(copies, recurrent=False),
    "recurrent PPO in SyncVectorEnv": use(single, recurrent=True),
    "recurrent PPO in make_vec": use(copies, recurrent=True),
}
