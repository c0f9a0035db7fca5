"""Time of one generation, and of the same with EvoTorch's GymNE: the same network, environment and population.

python -m benchmarks.evolution [--task CueReward] [--rule hebbian] [--hidden 32] [--population 64] [--episodes 16]
prints one JSON line. One thread. GymNE lives through its episodes one at a time, so a few individuals are timed and
scaled to the population; both means of the fitness are printed, as they must agree up to the choice of episodes.
With --task gym:CartPole-v1,normalise_observations=false it is steps lived in an environment of Gymnasium's own that
compare: the individuals timed may live longer or shorter than the others.
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
from plastic_envs.external.task import PREFIX
from plastic_envs.tasks import make_task


def time_searcher(settings: argparse.Namespace) -> tuple[float, float, torch.Tensor, torch.Tensor]:
    """Median seconds of a generation, search step included, and steps a second; the last one's genomes and fitness.

    Genomes are (P, n), fitness is (P,).
    """
    task = make_task(settings.task)
    agent = agents.make_for(task, rule=settings.rule, cell=settings.cell, hidden=settings.hidden)
    spec = f"pgpe,popsize={settings.population},episodes={settings.episodes}"
    searcher: Any = make_searcher(spec, task, agent)
    seconds, steps = [], []
    for _ in range(1 + settings.repeats):  # the first one warms up
        start, before = time.perf_counter(), searcher.env_steps
        searcher.step()
        seconds.append(time.perf_counter() - start)
        steps.append(searcher.env_steps - before)
    population = searcher.algorithm.population
    values = population.values.as_subclass(torch.Tensor).clone()
    rate = sum(steps[1:]) / sum(seconds[1:])
    return statistics.median(seconds[1:]), rate, values, population.evals[:, 0].as_subclass(torch.Tensor).clone()


def time_gymne(settings: argparse.Namespace, genomes: torch.Tensor) -> tuple[float, float, torch.Tensor]:
    """Seconds that GymNE would take for the population, steps a second, and the reward of the individuals timed.

    The reward is what the fitness is: a mean over the steps where there are targets, otherwise the sum.
    """
    from evotorch.neuroevolution import GymNE

    task = make_task(settings.task)
    agent = agents.make_for(task, rule=settings.rule, cell=settings.cell, hidden=settings.hidden)
    name = settings.task.partition(",")[0]
    env_id = name.removeprefix(PREFIX) if name.startswith(PREFIX) else f"plastic_envs/{name}-v0"
    problem = GymNE(env_id, agent, num_episodes=settings.episodes)
    warm = problem.generate_batch(1)
    problem.evaluate(warm)
    batch = problem.generate_batch(settings.timed)
    batch.set_values(genomes[: settings.timed])
    start, before = time.perf_counter(), problem.status["total_interaction_count"]
    problem.evaluate(batch)
    seconds = time.perf_counter() - start
    rate = (problem.status["total_interaction_count"] - before) / seconds
    reward = batch.evals[:, 0].as_subclass(torch.Tensor) / (task.horizon if task.has_targets else 1)
    return seconds / settings.timed * settings.population, rate, reward


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
    ours, rate, genomes, fitness = time_searcher(settings)
    theirs, their_rate, reward = time_gymne(settings, genomes)
    told = {
        **vars(settings),
        "parameters": genomes.shape[1],
        "generation_seconds": round(ours, 5),
        "gymne_seconds": round(theirs, 3),
        "episodes_per_second": round(settings.population * settings.episodes / ours),
        "gymne_episodes_per_second": round(settings.population * settings.episodes / theirs, 1),
        "steps_per_second": round(rate),
        "gymne_steps_per_second": round(their_rate),
        "fitness_of_the_timed": round(float(fitness[: settings.timed].mean()), 4),
        "gymne_fitness": round(float(reward.mean()), 4),
        "ratio": round(rate / their_rate, 1),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
