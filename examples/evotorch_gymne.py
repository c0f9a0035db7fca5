"""Evolve a plastic agent with EvoTorch's own GymNE, which takes the id of any Gymnasium environment.

GymNE lives one environment at a time; `plastic-envs train … --searcher pgpe` does the same with a whole population at
once, many times as fast, reproducibly, and can be resumed.
"""

import argparse

from evotorch.algorithms import PGPE
from evotorch.neuroevolution import GymNE
from torch.nn.utils import parameters_to_vector

import agents
import plastic_envs


def main(generations: int = 100, population: int = 40) -> float:
    """Evolve, and return the mean reward of an episode in the last generation."""
    task = plastic_envs.make_task("CueReward")
    agent = agents.make_for(task, rule="hebbian", hidden=16)
    problem = GymNE("plastic_envs/CueReward-v0", agent, num_episodes=4)
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
