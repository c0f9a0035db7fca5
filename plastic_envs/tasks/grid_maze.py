"""Find a hidden reward in a maze: Miconi et al., "Differentiable plasticity" (ICML 2018) and "Backpropamine" (2019)."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.csgraph import shortest_path
from torch import Tensor
from torch.nn import functional

from plastic_envs.core.schedule import at_time, replace_time
from plastic_envs.core.task import Metric, Slice, Step, Task, layout, replace_rows
from plastic_envs.utils.checks import check_float, check_int
from plastic_envs.utils.errors import UsageError

MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))
"""Rows and columns that an action adds: up, down, left, right."""
NONE = len(MOVES)
"""Stands for the last action where there was none yet; tables of cells and actions have 5 rows a cell for it."""
LARGEST = 99
"""The oracle's table of distances takes the fourth power of the size: 400 megabytes at this one."""
TIME, REWARD = 11, 12  # columns of the observation


class MazeState(NamedTuple):
    """Where a batch of mazes stands; cells are numbered row by row, walls included."""

    position: Tensor  # (..., B)
    goal: Tensor  # (B,) the reward cell
    landing: Tensor  # (T, B) where the agent is put if it enters the reward cell in that step
    time: int | Tensor  # the step that all episodes have reached, or (B,)


class OracleMemory(NamedTuple):
    """What the oracle knows of each episode."""

    visited: Tensor  # (B, cells) bool
    found: Tensor  # (B,) bool, whether it knows the reward cell


class GridMaze(Task):
    """Find a reward that cannot be seen, and find it again from wherever one is put.

    ## Description
    A grid of `size` × `size` cells has a wall around it and a pillar wherever row and column are both even, except in
    the centre, where the agent starts. A reward cell, drawn for the episode from the free cells but the centre, looks
    like any other. Who enters it is paid `reward` and put on a random other free cell. An episode has `length` steps.

    ## Observation Space
    17 numbers: `walls` (the 3 × 3 cells around the agent, row by row, 1 for a wall), `unused` (0), `bias` (1), `time`
    (steps taken over `length`), `reward` (of the last step), `action` (the last one, one-hot; zeros at the start, where
    the authors' program sets "up").

    ## Action Space
    `Discrete(4)`: 0 up, 1 down, 2 left, 3 right. A step into a wall does not move.

    ## Rewards
    `reward` for entering the reward cell, minus `wall_penalty` for a step into a wall, else 0. The metric is the total.

    ## Policies
    `random` takes every action equally often. `oracle` knows the maze and where it stands: until it is paid it walks to
    the nearest free cell that it has not been on (the first row by row, if several are), then on shortest paths.
    By default they expect a total of 14.4 and 375.8.

    ## Arguments
    * `size` (9; odd, from 5 to 99), `length` (200), `reward` (10), `wall_penalty` (0): see above.
    """

    output_size = 4
    action_kind: Literal["box", "discrete"] = "discrete"
    metric_kind: Metric = "reward"
    slices: Mapping[str, Slice] = layout(
        {"walls": (3, 3), "unused": 1, "bias": 1, "time": 1, "reward": 1, "action": len(MOVES)}
    )

    def __init__(self, size: int = 9, length: int = 200, reward: float = 10.0, wall_penalty: float = 0.0) -> None:
        self.size = check_int("size", size, 5, LARGEST)
        if size % 2 == 0:
            raise UsageError(f"size must be an odd number from 5 to {LARGEST}, not {size}")
        self.horizon = self.length = check_int("length", length, 1)
        self.reward = check_float("reward", reward, 0.0)
        self.wall_penalty = check_float("wall_penalty", wall_penalty, 0.0)
        self.observation_bound = max(1.0, self.reward, self.wall_penalty)
        self.policies = {"random": self.uniform, "oracle": self.shortest_paths}
        self.walls = make_walls(size)
        self.free = torch.from_numpy(np.flatnonzero(~self.walls))  # (n,) cells
        self.neighbours = make_neighbours(self.walls)
        self.looks = make_looks(self.walls, self.slices)

    def reset(self, batch_size: int, generator: torch.Generator) -> tuple[MazeState, Tensor]:
        """Draw reward cells, and for every step the cell where an agent would be put that enters one then."""
        device, n_free = generator.device, len(self.free)
        goal = torch.randint(n_free - 1, (batch_size,), generator=generator, device=device)
        goal += goal >= n_free // 2  # leaves the centre out, which is the middle one of the free cells
        landing = torch.randint(n_free - 1, (self.horizon, batch_size), generator=generator, device=device)
        landing += landing >= goal  # leaves the reward cell out
        free = self.free.to(device)
        position = torch.full_like(goal, self.size**2 // 2)
        observation = functional.embedding(5 * position + NONE, self.looks.to(device))
        return MazeState(position, free[goal], free[landing], 0), observation

    def step(self, state: MazeState, action: Tensor) -> Step:
        """Move every agent: (..., B) numbers of `MOVES`."""
        position, goal, landing, time = state
        aim = functional.embedding(5 * position + action, self.neighbours.to(goal.device)).squeeze(-1)  # (..., B)
        entered = aim == goal
        reward = entered * self.reward
        if self.wall_penalty:
            reward = torch.where(aim == position, -self.wall_penalty, reward)
        position = torch.where(entered, at_time(landing, time), aim)
        time = time + 1
        observation = functional.embedding(5 * position + action, self.looks.to(goal.device))  # (..., B, 17)
        observation[..., TIME] = time / self.horizon
        observation[..., REWARD] = reward
        scored = torch.ones_like(goal, dtype=torch.bool)
        after = MazeState(position, goal, landing, time)
        if isinstance(time, int) and time < self.horizon:
            return Step(after, observation, reward, torch.zeros_like(scored), reward, scored)
        terminated = scored & (time >= self.horizon)
        observation.masked_fill_(terminated.unsqueeze(-1), 0)
        return Step(after, observation, reward, terminated, reward, scored)

    def replace(self, state: MazeState, mask: Tensor, fresh: MazeState) -> MazeState:
        """The state with the episodes of `mask` (B,) replaced by those of the state `fresh`, in order."""
        position, goal = replace_rows((state.position, state.goal), mask, (fresh.position, fresh.goal))
        landing = replace_rows(state.landing, mask, fresh.landing, dim=1)
        return MazeState(position, goal, landing, replace_time(state.time, mask, fresh.time))

    @cached_property
    def distances(self) -> Tensor:
        """Steps of the shortest path from one cell to another (cells, cells), infinite for walls."""
        cells = self.size**2
        adjacent = np.zeros((cells, cells), np.bool_)
        adjacent[np.arange(cells).repeat(5), self.neighbours.flatten().numpy()] = True
        return torch.from_numpy(shortest_path(adjacent, unweighted=True)).float()

    def shortest_paths(
        self, observation: Tensor, memory: OracleMemory | None, state: MazeState, generator: torch.Generator
    ) -> tuple[Tensor, OracleMemory]:
        """The oracle: cells not yet visited, the nearest first, then shortest paths to the cell that paid."""
        position, goal = state.position, state.goal  # the goal is not looked at before it has been found
        distances, neighbours = self.distances.to(goal.device), self.neighbours.to(goal.device).view(-1, 5)
        if memory is None:
            walls = torch.from_numpy(self.walls.flatten()).to(goal.device)
            memory = OracleMemory(walls.repeat(len(goal), 1), torch.zeros_like(goal, dtype=torch.bool))
        visited = memory.visited.scatter(1, position.unsqueeze(1), True)
        found = memory.found | (observation[:, REWARD] > 0)
        nearest = distances[position].masked_fill(visited, torch.inf).argmin(1)  # (B, cells) → (B,)
        target = goal.where(found, nearest)
        action = distances[neighbours[position, :NONE], target.unsqueeze(1)].argmin(1)  # (B, 4) → (B,)
        return action, OracleMemory(visited, found)

    def path(self, state: MazeState, index: int, actions: Sequence[Tensor]) -> tuple[list[int], float]:
        """The cells that an agent has been on, -1 before those it was put on, and its total reward."""
        one = slice(index, index + 1)
        start = torch.full_like(state.goal[one], self.size**2 // 2)
        now = MazeState(start, state.goal[one], state.landing[:, one], 0)
        cells, total = [int(start)], 0.0
        for action in actions:
            step = self.step(now, action.view(1))
            now = step.state
            if step.reward > 0:
                cells += [int(now.goal), -1]
            cells.append(int(now.position))
            total += step.reward.item()
        return cells, total

    def draw(self, figure: Any, state: MazeState, index: int, actions: Sequence[Tensor]) -> None:
        """Draw a maze from above: walls, the reward cell, the agent and its path so far."""
        cells, total = self.path(state, index, actions)
        rows, columns = np.divmod(np.array(cells), self.size)
        axes = figure.add_axes((0.02, 0.02, 0.96, 0.88))
        axes.imshow(self.walls, cmap="Greys", vmin=0, vmax=1.3)
        goal = divmod(int(state.goal[index]), self.size)
        axes.scatter(goal[1], goal[0], 180, marker="*", color="tab:green", label="reward")
        axes.plot(
            np.where(columns < 0, np.nan, columns), np.where(rows < 0, np.nan, rows), color="tab:orange", alpha=0.6
        )
        axes.scatter(columns[-1], rows[-1], 120, color="tab:orange", zorder=3, label="agent")
        axes.set_axis_off()
        figure.text(
            0.5, 0.95, f"GridMaze · step {len(actions)}/{self.horizon} · reward {total:g}", ha="center", va="center"
        )
        figure.legend(loc="upper right", fontsize=9, frameon=False)


def make_walls(size: int) -> NDArray[np.bool_]:
    """Where the walls are: around, and where row and column are both even, but for the centre."""
    walls = np.zeros((size, size), np.bool_)
    walls[::2, ::2] = True
    walls[[0, -1]] = walls[:, [0, -1]] = True
    walls[size // 2, size // 2] = False
    return walls


def make_neighbours(walls: NDArray[np.bool_]) -> Tensor:
    """The cell that each action leads to from each cell, itself where there is a wall: (5 cells, 1) int64."""
    cells = np.arange(walls.size).reshape(walls.shape)
    aims = np.stack([np.roll(cells, (-row, -column), (0, 1)) for row, column in (*MOVES, (0, 0))], -1)
    aims = np.where(walls.flatten()[aims] | walls[..., None], cells[..., None], aims)
    return torch.from_numpy(aims).view(-1, 1)


def make_looks(walls: NDArray[np.bool_], slices: Mapping[str, Slice]) -> Tensor:
    """What is seen on each cell after each action, time and reward left 0: (5 cells, 17) float32."""
    looks = torch.zeros(walls.size, len(MOVES) + 1, 17)
    views = [np.roll(walls, (-row, -column), (0, 1)) for row in (-1, 0, 1) for column in (-1, 0, 1)]
    looks[..., slices["walls"].columns] = torch.from_numpy(np.stack(views, -1)).float().view(-1, 1, 9)
    looks[..., slices["bias"].columns] = 1
    looks[:, :NONE, slices["action"].columns] = torch.eye(NONE)
    return looks.flatten(0, 1)
