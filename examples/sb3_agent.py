"""Train an agent of the package by reward, as a policy of Stable-Baselines3."""

import argparse

from stable_baselines3.common.evaluation import evaluate_policy

import agents
import evolution
import plastic_envs


def main(episodes: int = 30_000) -> float:
    """Train, and return the mean reward of an episode afterwards, with actions drawn by chance."""
    task = plastic_envs.make_task("GridMaze", size=5, length=40)
    agent = agents.make_for(task, rule="decaying-hebb", network="plastic-rnn", hidden=40)
    searcher = evolution.make_searcher("a2c,learning_rate=0.003", task, agent)  # or "ppo"
    while searcher.episodes < episodes:
        searcher.step()
    # the agent's state, fast weights included, is carried through each episode
    reward, _ = evaluate_policy(searcher.algorithm, plastic_envs.TaskEnv(task), 50, deterministic=False, warn=False)
    assert isinstance(reward, float)
    print(f"mean reward of an episode after {searcher.env_steps} steps: {reward:.1f}")
    return reward


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=30_000, help="episodes to learn from")
    main(parser.parse_args().episodes)
