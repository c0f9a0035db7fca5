"""Train Stable-Baselines3's PPO on a task, by its id.

The network here has no memory, so the best it can learn is what one observation tells: on the steps that show a reward
to echo it, and else to answer 0. `sb3_recurrent_ppo.py` trains one that has.
"""

import argparse

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import plastic_envs  # noqa: F401 (registers the ids)


def main(total_timesteps: int = 100_000) -> float:
    """Train, and return the mean reward of an episode afterwards."""
    envs = make_vec_env("plastic_envs/CueReward-v0", n_envs=8, seed=0)
    model = PPO("MlpPolicy", envs, n_steps=40, batch_size=80, gamma=0.0, seed=0)  # no action changes the future
    model.learn(total_timesteps)
    reward, _ = evaluate_policy(model, envs, n_eval_episodes=200)
    envs.close()
    assert isinstance(reward, float)
    print(f"mean reward of an episode after {model.num_timesteps} steps: {reward:.2f}")
    return reward


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000, help="environment steps")
    main(parser.parse_args().steps)
