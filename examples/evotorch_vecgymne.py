"""Evolve a plastic agent with EvoTorch's VecGymNE, on this package's vector environment.

By an id alone VecGymNE would step single environments one after the other; given a function it uses ours, in which the
whole population lives as one batch.
"""

import argparse
from typing import Any

import gymnasium
from evotorch.algorithms import PGPE
from evotorch.neuroevolution import VecGymNE
from torch.nn.utils import parameters_to_vector

import agents
import plastic_envs


def make_envs(num_envs: int, **options: Any) -> gymnasium.vector.VectorEnv:
    """Make the environments that a generation lives in: one for each individual."""
    return gymnasium.make_vec("plastic_envs/CueReward-v0", num_envs=num_envs, autoreset_mode="SameStep", **options)


def main(generations: int = 100, population: int = 200) -> float:
    """Evolve, and return the mean reward of an episode in the last generation."""
    task = plastic_envs.make_task("CueReward")
    agent = agents.make_for(task, rule="hebbian", hidden=16)
    problem = VecGymNE(make_envs, agent, num_episodes=4)
    searcher = PGPE(
        problem,
        popsize=population,
        center_init=parameters_to_vector(agent.parameters()).detach(),
        center_learning_rate=0.3,
        stdev_learning_rate=0.1,
        stdev_init=0.05,
    )
    searcher.run(generations)
    reward = float(searcher.status["mean_eval"])
    print(f"mean reward of an episode after {generations} generations: {reward:.2f}")
    return reward


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generations", type=int, default=100)
    main(parser.parse_args().generations)
