"""Steps per second of the vector environment, and of Gymnasium's SyncVectorEnv over the single one.

python -m benchmarks.environments [--task CueReward] [--num-envs 1024] [--seconds 3]
prints a JSON line for each and one with their ratio. One thread.
"""

import argparse
import functools
import json
import time
from typing import Any

import gymnasium
import torch

import plastic_envs


def steps_per_second(envs: gymnasium.vector.VectorEnv[Any, Any, Any], seconds: float) -> float:
    """The best rate of five stretches of time, sampling and resets included."""
    envs.reset(seed=0)
    envs.action_space.seed(0)
    actions = envs.action_space.sample()
    best = 0.0
    for _ in range(5):
        steps, start, elapsed = 0, time.perf_counter(), 0.0
        while elapsed < seconds / 5:
            envs.step(actions)
            steps += envs.num_envs
            elapsed = time.perf_counter() - start
        best = max(best, steps / elapsed)
    return best


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="CueReward", help="a name as make_task takes it")
    parser.add_argument("--num-envs", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each of the two")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    n = settings.num_envs
    single = functools.partial(plastic_envs.TaskEnv, settings.task)
    rates = {
        "TaskVectorEnv": steps_per_second(plastic_envs.TaskVectorEnv(settings.task, num_envs=n), settings.seconds),
        "SyncVectorEnv": steps_per_second(gymnasium.vector.SyncVectorEnv([single] * n), settings.seconds),
    }
    for name, rate in rates.items():
        print(json.dumps({"env": name, "task": settings.task, "num_envs": n, "steps_per_second": round(rate)}))
    print(json.dumps({"ratio": round(rates["TaskVectorEnv"] / rates["SyncVectorEnv"], 1)}))


if __name__ == "__main__":
    main()
