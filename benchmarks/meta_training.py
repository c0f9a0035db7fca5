"""Updates per second of meta-training by backpropagation, with the batch-mean inner loss of Duan's program.

    python -m benchmarks.meta_training --task cue_reward --rule hebbian --cell rnn --seconds 20

prints one JSON line: updates/s, episodes/s, peak memory of the process, the last loss. Sampling of the episodes is
included, as are gradient clipping and the optimizer's step.
"""

import argparse
import json
import resource
import time

import torch

import agents
from evolution.searchers.make import make_searcher
from plastic_envs.tasks import make_task

TASKS = {
    "cue_reward": "CueReward",
    "sequence_reproduction": "SequenceReproduction",
    "few_shot_regression": "FewShotRegression",
}


def main() -> None:
    """Train for the given time after two updates of warm-up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, default="cue_reward")
    parser.add_argument("--rule", choices=["hebbian", "gradient", "none"], default="hebbian")
    parser.add_argument("--cell", choices=["rnn", "lstm"], default="rnn")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    task = make_task(TASKS[args.task])
    agent = agents.make_for(task, rule=args.rule, cell=args.cell, hidden=args.hidden, inner_loss_mean="batch")
    searcher = make_searcher(f"backprop,batch_size={args.batch}", task, agent, seed=0)
    for _ in range(2):
        searcher.step()
    updates, start = 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < args.seconds:
        loss = searcher.step()["loss"]
        updates += 1
    figures = {
        "updates_per_s": updates / seconds,
        "episodes_per_s": updates * args.batch / seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "loss": loss,
    }
    print(json.dumps({**vars(args), **figures}))


if __name__ == "__main__":
    main()
