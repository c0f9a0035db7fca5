"""Time of one generation, and of the same with EvoTorch's GymNE: the same network, environment and population.

python -m benchmarks.evolution [--task CueReward] [--rule hebbian] [--hidden 32] [--population 64] [--episodes 16]
prints one JSON line. One thread. GymNE lives through its episodes one at a time, so a few individuals are timed and
scaled to the population; both means of the fitness are printed, as they must agree up to the choice of episodes.
"""

import argparse
import json
import statistics
import time
import warnings
from typing import Any

import torch

import agents
from evolution import make_searcher
from plastic_envs.tasks import make_task


def time_searcher(settings: argparse.Namespace) -> tuple[float, torch.Tensor, torch.Tensor]:
    """Median seconds of a generation, search step included; genomes (P, n) and fitness (P,) of the last one."""
    task = make_task(settings.task)
    agent = agents.make_for(task, rule=settings.rule, cell=settings.cell, hidden=settings.hidden)
    spec = f"pgpe,popsize={settings.population},episodes={settings.episodes}"
    searcher: Any = make_searcher(spec, task, agent)
    seconds = []
    for _ in range(1 + settings.repeats):  # the first one warms up
        start = time.perf_counter()
        searcher.step()
        seconds.append(time.perf_counter() - start)
    population = searcher.algorithm.population
    values = population.values.as_subclass(torch.Tensor).clone()
    return statistics.median(seconds[1:]), values, population.evals[:, 0].as_subclass(torch.Tensor).clone()


def time_gymne(settings: argparse.Namespace, genomes: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Seconds that GymNE would take for the population, and the mean reward a step of the individuals timed."""
    from evotorch.neuroevolution import GymNE

    task = make_task(settings.task)
    agent = agents.make_for(task, rule=settings.rule, cell=settings.cell, hidden=settings.hidden)
    problem = GymNE(f"plastic_envs/{settings.task}-v0", agent, num_episodes=settings.episodes)
    warm = problem.generate_batch(1)
    problem.evaluate(warm)
    batch = problem.generate_batch(settings.timed)
    batch.set_values(genomes[: settings.timed])
    start = time.perf_counter()
    problem.evaluate(batch)
    seconds = (time.perf_counter() - start) / settings.timed * settings.population
    return seconds, batch.evals[:, 0].as_subclass(torch.Tensor) / task.horizon


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="CueReward")
    parser.add_argument("--rule", default="hebbian")
    parser.add_argument("--cell", default="rnn")
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--population", type=int, default=64)
    parser.add_argument("--episodes", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=10, help="generations timed")
    parser.add_argument("--timed", type=int, default=4, help="individuals that GymNE is timed on")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # evotorch 0.6 uses what torch and pandas deprecate
    ours, genomes, fitness = time_searcher(settings)
    theirs, reward = time_gymne(settings, genomes)
    told = {
        **vars(settings),
        "parameters": genomes.shape[1],
        "generation_seconds": round(ours, 5),
        "gymne_seconds": round(theirs, 3),
        "episodes_per_second": round(settings.population * settings.episodes / ours),
        "gymne_episodes_per_second": round(settings.population * settings.episodes / theirs, 1),
        "fitness_of_the_timed": round(float(fitness[: settings.timed].mean()), 4),
        "gymne_reward_a_step": round(float(reward.mean()), 4),
        "ratio": round(theirs / ours, 1),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
