"""Reward-trained maze runners beside a straightforward program: 13 × 13 cells, 200 steps, networks of 100 units.

    python -m benchmarks.maze

prints a JSON line for batches of 30 and of 256 episodes: episodes per second of processor time of whole updates by a2c
(episodes lived, backward pass, Adam) for a plastic network, one with simple and one with retroactive modulation; the
same of a straightforward program, which steps the mazes one by one and forms each fast weight matrix by autograd at
every step, as the authors' program does; steps per second of the maze alone, ours and the straightforward one, under
random actions; the ratios. Forms are measured in turn. One thread.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agents import make_for
from evolution.searchers.make import make_searcher
from plastic_envs import make_task
from plastic_envs.tasks.grid_maze import MOVES, make_walls

SIZE, STEPS, UNITS, INPUTS = 13, 200, 100, 17
MODULATED: dict[str, dict[str, Any]] = {
    "plastic": {},
    "simple": {"modulation": "tanh"},
    "retroactive": {"modulation": "tanh", "retroactive": True},
}


class Mazes:
    """Mazes stepped one after the other."""

    def __init__(self, batch: int, random: np.random.Generator) -> None:
        self.walls, self.random = make_walls(SIZE), random
        self.free = np.argwhere(~self.walls)
        self.places = [(SIZE // 2, SIZE // 2)] * batch
        self.goals = [self.draw((SIZE // 2, SIZE // 2)) for _ in range(batch)]

    def draw(self, other: tuple[int, int]) -> tuple[int, int]:
        """A free cell that is not `other`."""
        while True:
            row, column = self.free[self.random.integers(len(self.free))]
            if (row, column) != other:
                return int(row), int(column)

    def look(self, time: int, rewards: NDArray[np.float32], actions: NDArray[np.int64] | None) -> Tensor:
        """What is seen in all mazes (B, 17)."""
        seen = np.zeros((len(self.places), INPUTS), np.float32)
        for index, (row, column) in enumerate(self.places):
            seen[index, :9] = self.walls[row - 1 : row + 2, column - 1 : column + 2].ravel()
            seen[index, 10:13] = 1, time / STEPS, rewards[index]
            if actions is not None:
                seen[index, 13 + actions[index]] = 1
        return torch.from_numpy(seen)

    def step(self, actions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Move in all mazes: rewards (B,)."""
        rewards = np.zeros(len(self.places), np.float32)
        for index, action in enumerate(actions):
            row, column = np.add(self.places[index], MOVES[action])
            if not self.walls[row, column]:
                self.places[index] = int(row), int(column)
            if self.places[index] == self.goals[index]:
                rewards[index] = 10
                self.places[index] = self.draw(self.goals[index])
        return rewards


class Straightforward(nn.Module):
    """A plastic recurrent network with one matrix of fast weights an episode, and its update by a2c."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode, self.value = nn.Linear(INPUTS, UNITS), nn.Linear(UNITS, 4), nn.Linear(UNITS, 1)
        self.weight = nn.Parameter(0.01 * torch.rand(UNITS, UNITS))
        self.plasticity = nn.Parameter(0.01 * torch.rand(UNITS, UNITS))
        self.eta = nn.Parameter(torch.tensor(0.1))
        self.modulate = nn.Linear(UNITS, 1)
        self.optimizer = torch.optim.Adam(self.parameters(), lr=1e-3, eps=1e-5)

    def forward(
        self, seen: Tensor, hidden: Tensor, fast: Tensor, traces: Tensor, kind: str
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One step: the new activity, fast weights and eligibility traces."""
        weight = self.weight + self.plasticity * fast  # (B, N, N)
        new = torch.tanh(self.encode(seen) + (hidden.unsqueeze(1) @ weight).squeeze(1))
        change = hidden.unsqueeze(2) * new.unsqueeze(1)
        if kind == "plastic":
            return new, fast + self.eta * change, traces
        factor = self.modulate(new).tanh().unsqueeze(2)
        if kind == "simple":
            return new, fast + factor * change, traces
        return new, fast + factor * traces, (1 - self.eta) * traces + self.eta * change

    def update(self, batch: int, kind: str, random: np.random.Generator) -> None:
        """One batch of episodes and one step of Adam."""
        mazes, rewards, actions = Mazes(batch, random), np.zeros(batch, np.float32), None
        hidden, fast, traces = (torch.zeros(batch, *shape) for shape in ((UNITS,), (UNITS, UNITS), (UNITS, UNITS)))
        told, paid = [], []
        for time_step in range(STEPS):
            seen = mazes.look(time_step, rewards, actions)
            hidden, fast, traces = self(seen, hidden, fast, traces, kind)
            choice = torch.distributions.Categorical(logits=self.decode(hidden))
            drawn = choice.sample()
            told.append((choice.log_prob(drawn), choice.entropy(), self.value(hidden).squeeze(1)))
            actions = drawn.numpy()
            rewards = mazes.step(actions)
            paid.append(torch.from_numpy(rewards))
        loss, returns = torch.zeros(()), torch.zeros(batch)
        for (chosen, entropy, value), reward in zip(reversed(told), reversed(paid), strict=True):
            returns = reward + 0.9 * returns
            ahead = returns - value
            loss = loss + (0.1 * ahead.square() - ahead.detach() * chosen - 0.1 * entropy).mean()
        self.optimizer.zero_grad()
        (loss / STEPS).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters(), 4.0)
        self.optimizer.step()


def ours(kind: str, batch: int) -> Callable[[], object]:
    """An update by the package."""
    task = make_task("GridMaze", size=SIZE, length=STEPS)
    rule = "additive-hebb,bound=none"
    agent = make_for(task, rule=rule, network="plastic-rnn", hidden=UNITS, seed=0, **MODULATED[kind])
    return make_searcher(f"a2c,batch_size={batch}", task, agent, seed=0, budget=1).step


def theirs(kind: str, batch: int) -> Callable[[], object]:
    """An update by the straightforward program."""
    torch.manual_seed(0)
    network, random = Straightforward(), np.random.default_rng(0)
    return lambda: network.update(batch, kind, random)


def walk(batch: int) -> Callable[[], object]:
    """Episodes of random actions in the package's mazes."""
    task, generator = make_task("GridMaze", size=SIZE, length=STEPS), torch.Generator().manual_seed(0)
    actions = torch.randint(4, (STEPS, batch), generator=generator)

    def live() -> None:
        state, _ = task.reset(batch, generator)
        for action in actions:
            state = task.step(state, action).state

    return live


def walk_one_by_one(batch: int) -> Callable[[], object]:
    """The same in mazes stepped one after the other."""
    random = np.random.default_rng(0)

    def live() -> None:
        mazes = Mazes(batch, random)
        for time_step in range(STEPS):
            drawn = random.integers(4, size=batch)
            mazes.look(time_step, mazes.step(drawn), drawn)

    return live


def main() -> None:
    """Measure all forms in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for batch in (30, 256):
        forms = {kind: (ours(kind, batch), theirs(kind, batch)) for kind in MODULATED}
        pairs = forms | {"maze alone": (walk(batch), walk_one_by_one(batch))}
        for name, pair in pairs.items():
            seconds: tuple[list[float], list[float]] = ([], [])
            for turn in range(args.repeats + 1):
                for form, measured in zip(pair, seconds, strict=True):
                    start = time.process_time()
                    form()
                    if turn:  # the first warms up
                        measured.append(time.process_time() - start)
            unit = STEPS if name == "maze alone" else 1
            mine, its = (batch * unit / statistics.median(measured) for measured in seconds)
            what = "steps_per_s" if name == "maze alone" else "episodes_per_s"
            figures = {what: mine, f"straightforward_{what}": its, "ratio": mine / its}
            print(json.dumps({"batch": batch, "form": name, **figures}), flush=True)


if __name__ == "__main__":
    main()
