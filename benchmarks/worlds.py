"""Agent-steps a second in worlds of many agents, and by PettingZoo's interface.

    python -m benchmarks.worlds

prints a JSON line for each world: agent-steps per second of processor time under random actions of 256 worlds of 16
agents stepped at once as a task and as a vector environment, of one world by PettingZoo's loop, and the ratio of the
first and the last, measured in turn. One thread.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

from plastic_envs import WORLDS, TaskVectorEnv, make_task
from plastic_envs.envs.parallel_env import TaskParallelEnv

AGENTS, TOGETHER = 16, 256


def as_task(name: str) -> Callable[[], int]:
    """A batch of lifetimes of the raw task."""
    task, generator = make_task(name, n_agents=AGENTS), torch.Generator().manual_seed(0)
    batch = AGENTS * TOGETHER

    def live() -> int:
        state, _ = task.reset(batch, generator)
        for _ in range(task.horizon):
            state = task.step(state, torch.randint(task.output_size, (batch,), generator=generator)).state
        return batch * task.horizon

    return live


def as_vector_env(name: str) -> Callable[[], int]:
    """The same as a Gymnasium vector environment."""
    task, batch = make_task(name, n_agents=AGENTS), AGENTS * TOGETHER
    envs = TaskVectorEnv(task, num_envs=batch, autoreset_mode="SameStep")
    envs.reset(seed=0)
    generator = torch.Generator().manual_seed(0)

    def live() -> int:
        for _ in range(task.horizon):
            envs.step(torch.randint(task.output_size, (batch,), generator=generator).numpy())
        return batch * task.horizon

    return live


def one_by_pettingzoo(name: str) -> Callable[[], int]:
    """One world, by PettingZoo's loop."""
    env = TaskParallelEnv(name, n_agents=AGENTS)

    def live() -> int:
        env.reset(seed=0)
        while env.agents:
            env.step({agent: env.action_space(agent).sample() for agent in env.agents})
        return AGENTS * env.task.horizon

    return live


def main() -> None:
    """Measure all worlds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in WORLDS:
        forms = {"task": as_task(name), "vector_env": as_vector_env(name), "pettingzoo": one_by_pettingzoo(name)}
        rates: dict[str, list[float]] = {form: [] for form in forms}
        for turn in range(args.repeats + 1):
            for form, live in forms.items():
                start = time.process_time()
                count = live()
                if turn:  # the first warms up
                    rates[form].append(count / (time.process_time() - start))
        found = {f"{form}_agent_steps_per_s": statistics.median(each) for form, each in rates.items()}
        ratio = found["task_agent_steps_per_s"] / found["pettingzoo_agent_steps_per_s"]
        print(json.dumps({"world": name, **found, "ratio": ratio}), flush=True)


if __name__ == "__main__":
    main()
