"""Steps per second of the vector environment, and of Gymnasium's SyncVectorEnv over the single one.

python -m benchmarks.environments [--task CueReward] [--num-envs 1024] [--seconds 3]
prints a JSON line for each, with the best and the median over cycles of an episode and its reset, and one with the
ratio of the best. One thread.
"""

import argparse
import functools
import json
import statistics
import time
from typing import Any

import gymnasium
import torch

import plastic_envs


def steps_per_second(envs: gymnasium.vector.VectorEnv[Any, Any, Any], cycle: int, seconds: float) -> list[float]:
    """The rate of each cycle of steps, an episode and its reset, that fits in the time; at least one."""
    envs.reset(seed=0)
    envs.action_space.seed(0)
    actions = envs.action_space.sample()
    rates: list[float] = []
    end = time.perf_counter() + seconds
    while not rates or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(cycle):
            envs.step(actions)
        rates.append(cycle * envs.num_envs / (time.perf_counter() - start))
    return rates


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="CueReward", help="a name as make_task takes it")
    parser.add_argument("--num-envs", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each of the two")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    n = settings.num_envs
    task = plastic_envs.make_task(settings.task)
    single = functools.partial(plastic_envs.TaskEnv, task)
    best = {}
    for envs in (plastic_envs.TaskVectorEnv(task, num_envs=n), gymnasium.vector.SyncVectorEnv([single] * n)):
        rates = steps_per_second(envs, task.horizon + 1, settings.seconds)
        name = type(envs).__name__
        best[name] = max(rates)
        line = {"env": name, "task": settings.task, "num_envs": n, "steps_per_second": round(max(rates))}
        print(json.dumps({**line, "median": round(statistics.median(rates)), "cycles": len(rates)}), flush=True)
    print(json.dumps({"ratio": round(best["TaskVectorEnv"] / best["SyncVectorEnv"], 1)}))


if __name__ == "__main__":
    main()
