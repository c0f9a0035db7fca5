"""Look inside an agent while it lives: its own learning rate and its fast weights, step by step."""

import argparse
from pathlib import Path

import torch

import agents
import plastic_envs


def main(folder: Path | None = None) -> dict[str, torch.Tensor]:
    """Record one batch of episodes of the agent in `folder`, or of a newborn one, and print the means of each step."""
    task = plastic_envs.make_task("CueReward")
    agent = agents.load(folder) if folder else agents.make_for(task, rule="hebbian", hidden=32)
    print("can be recorded:", ", ".join(agent.recordable()))
    with torch.no_grad():
        life = agents.rollout(agent, task, 64, torch.Generator().manual_seed(0), record=("rate", "fast.cell"))
    rate = life.records["rate"].mean(1)  # (T, B) → (T,)
    size = life.records["fast.cell"].square().mean((1, 2, 3)).sqrt()  # (T, B, n, m) → (T,)
    for step in range(task.horizon):
        print(f"step {step:2}: learning rate {rate[step]:.3f}, size of the recurrent fast weights {size[step]:.4f}")
    return life.records


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="a run, or another folder with a saved agent")
    main(parser.parse_args().folder)
