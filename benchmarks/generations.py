"""What a generation of agents in a world costs, and what it would on many machines.

    python -m benchmarks.generations

prints a JSON line for generations of several sizes: individuals × lifetimes × steps, their seconds of processor time on
one thread, agent-steps per second, and the bytes that actors would be sent and would send back. The last line is the
cost of one agent-step in large generations and of a generation's overhead, fitted to these, and what they come to for
64 machines of 16 cores each: seconds of a generation, and the part of them that messages take at 1 gigabit a second
through the one machine that all of them meet at.
"""

import argparse
import json
import statistics
import time

import numpy as np
import torch

from agents import make_for
from evolution.searchers.evolutionary.evotorch_search import EvoTorchSearcher
from evolution.searchers.make import make_searcher
from plastic_envs import make_task

RULE = "additive-hebb,bound=none"
NETWORK = "plastic-mlp,hidden_layers=0,modulation=tanh,retroactive=true,plasticity=shared"
SIZES = [(16, 8, 200), (64, 8, 200), (64, 16, 200), (128, 16, 200), (256, 16, 200), (64, 16, 50), (64, 16, 100)]
MACHINES, CORES, BYTES_PER_SECOND = 64, 16, 1e9 / 8


def measure(individuals: int, lifetimes: int, steps: int, repeats: int) -> dict[str, float]:
    """One size of a generation."""
    task = make_task("Foraging", length=steps)
    agent = make_for(task, rule=RULE, network=NETWORK, seed=0)
    searcher = make_searcher(f"pgpe,popsize={individuals},episodes={lifetimes}", task, agent, seed=0)
    assert isinstance(searcher, EvoTorchSearcher)
    seconds = []
    for turn in range(repeats + 1):
        start = time.process_time()
        searcher.step()
        if turn:  # the first warms up
            seconds.append(time.process_time() - start)
    cost, agent_steps = statistics.median(seconds), individuals * lifetimes * steps
    return {
        "individuals": individuals,
        "lifetimes": lifetimes,
        "steps": steps,
        "seconds": cost,
        "agent_steps_per_s": agent_steps / cost,
        "bytes_sent": 4 * individuals * searcher.n_searched,
        "bytes_received": 4 * individuals * (2 + steps),
    }


def extrapolate(rows: list[dict[str, float]]) -> dict[str, float]:
    """Seconds = overhead · steps + cost · agent-steps, by least squares, and a large generation on many machines."""
    steps = np.array([row["steps"] for row in rows])
    agent_steps = np.array([row["individuals"] * row["lifetimes"] * row["steps"] for row in rows])
    seconds = np.array([row["seconds"] for row in rows])
    weighted = np.stack([steps, agent_steps], 1) / seconds[:, None]  # so that relative errors count
    overhead, cost = np.linalg.lstsq(weighted, np.ones(len(rows)), rcond=None)[0]
    cores, individuals, lifetimes, length = MACHINES * CORES, 16_384, 64, 200
    working = overhead * length + cost * individuals * lifetimes * length / cores
    genome = rows[0]["bytes_sent"] / rows[0]["individuals"]
    messages = individuals * (genome + 4 * (2 + length)) / BYTES_PER_SECOND
    return {
        "overhead_s_per_step": overhead,
        "s_per_agent_step": cost,
        "machines": MACHINES,
        "cores_each": CORES,
        "individuals": individuals,
        "lifetimes": lifetimes,
        "working_s": working,
        "messages_s": messages,
        "one_core_s": overhead * length + cost * individuals * lifetimes * length,
        "speed_up": (overhead * length + cost * individuals * lifetimes * length) / (working + messages),
    }


def main() -> None:
    """Measure all sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for size in SIZES:
        rows.append(measure(*size, args.repeats))
        print(json.dumps(rows[-1]), flush=True)
    print(json.dumps(extrapolate(rows)))


if __name__ == "__main__":
    main()
