"""Evolve an agent with an EvoTorch `Problem` of one's own: here the worst of 16 episodes counts.

The population that EvoTorch hands a fitness function, one row of parameters for each individual, goes into
`agents.rollout` as it is; all individuals live through the same episodes, as one batch.
"""

import argparse

import torch
from evotorch import Problem
from evotorch.algorithms import SNES
from evotorch.logging import StdOutLogger
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

import agents
import evolution
import plastic_envs


def main(generations: int = 100, population: int = 64) -> float:
    """Evolve, and return the error on held-out episodes of the agent at the centre of the last generation."""
    task = plastic_envs.make_task("CueReward", n_cues=2, n_show=3, n_query=3)
    agent = agents.make_for(task, rule="hebbian,rate=1", hidden=8)
    start = parameters_to_vector(agent.parameters()).detach()
    episodes = torch.Generator().manual_seed(0)

    def fitness(genomes: Tensor) -> Tensor:
        """The fitness (P,) of a population (P, L)."""
        with torch.no_grad():
            lived = agents.rollout(agent, task, 16, episodes, parameters=genomes)
        return -lived.loss.amax(-1)

    problem = Problem("max", fitness, solution_length=len(start), initial_bounds=(-1, 1), vectorized=True, seed=0)
    searcher = SNES(problem, popsize=population, center_init=start, stdev_init=0.1)
    if generations > 10:
        StdOutLogger(searcher, interval=generations // 10)
    searcher.run(generations)
    vector_to_parameters(torch.as_tensor(searcher.status["center"]).as_subclass(Tensor).clone(), agent.parameters())
    error = evolution.evaluate(agent, task, episodes=1000).metric
    print(f"squared error on held-out episodes after {generations} generations: {error:.3f}")
    return error


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generations", type=int, default=100)
    main(parser.parse_args().generations)
