"""The maze: its walls, what is paid and seen, where the agent is put, and scores that can be worked out."""

import math
from collections import deque

import numpy as np
import pytest
import torch

from plastic_envs import make_task, play
from plastic_envs.tasks.grid_maze import MazeState

UP, DOWN, LEFT, RIGHT = range(4)
MAP = """
#########
#       #
# # # # #
#       #
# #   # #
#       #
# # # # #
#       #
#########
"""


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def walls_of(text):
    return np.array([[letter == "#" for letter in line] for line in text.split("\n") if line])


def place(task, *cells, goal, landing=(1, 1), time=0):
    """A state with an agent on each of the cells (row, column), and the same reward cell for all."""
    number = lambda cell: cell[0] * task.size + cell[1]  # noqa: E731
    batch = len(cells)
    landings = torch.full((task.horizon, batch), number(landing))
    return MazeState(torch.tensor([*map(number, cells)]), torch.full((batch,), number(goal)), landings, time)


def test_walls_and_pillars():
    assert np.array_equal(make_task("GridMaze").walls, walls_of(MAP))
    assert not make_task("GridMaze", size=5).walls[1:-1, 1:-1].any()  # its one pillar would stand in the centre
    walls = make_task("GridMaze", size=11).walls
    assert walls[[0, -1]].all()
    assert walls[:, [0, -1]].all()
    assert np.array_equal(np.argwhere(walls[1:-1, 1:-1]) + 1, [(r, c) for r in range(2, 9, 2) for c in range(2, 9, 2)])


def test_first_observation_number_by_number():
    for size, pillars in ((9, [0] * 9), (11, [1, 0, 1, 0, 0, 0, 1, 0, 1])):
        state, observation = make_task("GridMaze", size=size).reset(3, generator())
        assert observation.tolist() == [[*pillars, 0, 1, 0, 0, 0, 0, 0, 0]] * 3
        assert state.position.tolist() == [size // 2 * (size + 1)] * 3


def test_observations_number_by_number():
    task = make_task("GridMaze", wall_penalty=0.25)
    state = place(task, (1, 1), (1, 1), (3, 2), (7, 6), goal=(7, 7), landing=(5, 4), time=49)
    step = task.step(state, torch.tensor([UP, RIGHT, DOWN, RIGHT]))
    assert step.observation.tolist() == [
        [1, 1, 1, 1, 0, 0, 1, 0, 1, 0, 1, 0.25, -0.25, 1, 0, 0, 0],  # against the wall above, still in the corner
        [1, 1, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0.25, 0, 0, 0, 0, 1],  # along the upper wall
        [0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0.25, -0.25, 0, 1, 0, 0],  # against a pillar
        [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0.25, 10, 0, 0, 0, 1],  # paid, and put elsewhere
    ]
    assert step.reward.tolist() == step.metric.tolist() == [-0.25, 0, -0.25, 10]
    assert step.state.position.tolist() == [10, 11, 29, 49]
    assert step.metric_mask.all()


@pytest.mark.parametrize(("action", "cell"), [(UP, (2, 3)), (DOWN, (4, 3)), (LEFT, (3, 2)), (RIGHT, (3, 4))])
def test_actions_go_where_they_say(action, cell):
    task = make_task("GridMaze")
    step = task.step(place(task, (3, 3), goal=(7, 7)), torch.tensor([action]))
    assert step.state.position.item() == 9 * cell[0] + cell[1]
    assert step.reward.item() == 0


def test_no_step_leaves_the_free_cells():
    task = make_task("GridMaze", size=11)
    free = [divmod(cell, 11) for cell in task.free.tolist()]
    state = place(task, *free, goal=(0, 0))
    for action, (row, column) in enumerate([(-1, 0), (1, 0), (0, -1), (0, 1)]):
        reached = task.step(state, torch.full((len(free),), action)).state.position.tolist()
        for (r, c), cell in zip(free, reached, strict=True):
            aim = (r + row, c + column)
            assert divmod(cell, 11) == ((r, c) if task.walls[aim] else aim)


@pytest.mark.parametrize("size", [5, 9, 11])
def test_draws_are_even_over_the_cells_that_are_allowed(size):
    task = make_task("GridMaze", size=size, length=50)
    state, _ = task.reset(20_000, generator())
    free, n = task.free, len(task.free)
    is_centre = free == size * size // 2
    assert not (state.landing == state.goal).any()
    goals = torch.where(is_centre, 0, 1 / (n - 1))
    landings = torch.where(is_centre, 1 / (n - 1), (n - 2) / (n - 1) ** 2)  # the centre is never left out
    for drawn, share in ((state.goal, goals), (state.landing[7], landings)):
        expected = torch.zeros(size * size).index_copy(0, free, 20_000 * share)
        assert ((drawn.bincount(minlength=size * size) - expected).abs() <= 5 * expected.sqrt()).all()


def test_entering_pays_each_time_and_the_reward_cell_stays():
    task = make_task("GridMaze", length=4)
    state = place(task, (1, 2), goal=(1, 1), landing=(1, 3))
    rewards = []
    for action in (LEFT, LEFT, LEFT, RIGHT):
        step = task.step(state, torch.tensor([action]))
        state = step.state
        rewards.append(step.reward.item())
    assert rewards == [10, 0, 10, 0]  # put on (1, 3), to (1, 2), in again, put on (1, 3), to (1, 4)
    assert state.goal.item() == 10
    assert state.position.item() == 13
    assert step.terminated
    assert not step.observation.any()


def random_walk_score(task):
    """The expected total of a uniform random walker: by its transition matrix, the reward cells averaged."""
    free = {cell: index for index, cell in enumerate(task.free.tolist())}
    n = len(free)
    centre = n // 2
    total = 0.0
    for goal in set(range(n)) - {centre}:
        move, pay = np.zeros((n, n)), np.zeros(n)
        for cell, index in free.items():
            for offset in (-task.size, task.size, -1, 1):
                aim = free.get(cell + offset, index)
                if aim == goal:
                    pay[index] += task.reward / 4
                    move[index] += np.where(np.arange(n) == goal, 0, 1 / 4 / (n - 1))
                else:
                    move[index, aim] += 1 / 4
                    pay[index] -= task.wall_penalty / 4 * (aim == index)
        where = np.eye(n)[centre]
        for _ in range(task.horizon):
            total += where @ pay / (n - 1)
            where = where @ move
    return total


def distances_from(task, goal):
    """Steps from every free cell to one of them, by breadth-first search."""
    free = set(task.free.tolist())
    steps, queue = {goal: 0}, deque([goal])
    while queue:
        cell = queue.popleft()
        for aim in (cell - task.size, cell + task.size, cell - 1, cell + 1):
            if aim in free and aim not in steps:
                steps[aim] = steps[cell] + 1
                queue.append(aim)
    return steps


def oracle_score(task):
    """The expected total of the oracle: it finds the cell on a walk that is always the same, then takes shortest paths.

    With h steps left it expects V(h), the mean over the n - 1 cells it may be put on, d steps away, of
    reward + V(h - d) where d ≤ h, else 0.
    """
    free = task.free.tolist()
    far = {cell: distances_from(task, cell) for cell in free}
    here, unseen, elapsed, found = task.size**2 // 2, set(free), 0, {}
    unseen.remove(here)
    while unseen:  # the first cell row by row of the nearest; cells passed on the way there are seen already
        aim = min(unseen, key=lambda cell: (far[here][cell], cell))
        elapsed += far[here][aim]
        found[aim], here = elapsed, aim
        unseen.remove(aim)
    total = 0.0
    for goal, time in found.items():
        value = np.zeros(task.horizon + 1)
        others = [far[goal][cell] for cell in free if cell != goal]
        for left in range(1, task.horizon + 1):
            value[left] = sum(task.reward + value[left - d] for d in others if d <= left) / len(others)
        if time <= task.horizon:
            total += task.reward + value[task.horizon - time]
    return total / len(found)


@pytest.mark.parametrize("spec", ["GridMaze", "GridMaze,size=5,length=20,wall_penalty=0.5", "GridMaze,size=13"])
def test_scores_are_those_that_can_be_worked_out(spec):
    task = make_task(spec)
    for name, expected in (("random", random_walk_score(task)), ("oracle", oracle_score(task))):
        scores = task.score(play(task, task.policies[name], 4096, generator()))
        error = scores.std().item() / math.sqrt(len(scores))
        assert scores.mean().item() == pytest.approx(expected, abs=4 * error), name


def test_stated_scores():
    """As the class says: between a random walker and the oracle there is much to learn."""
    task = make_task("GridMaze")
    assert random_walk_score(task) == pytest.approx(14.4, abs=0.05)
    assert oracle_score(task) == pytest.approx(375.8, abs=0.05)


def test_the_oracle_takes_shortest_paths_once_it_has_found_the_cell():
    task = make_task("GridMaze")
    state, observation = task.reset(40, generator())
    far = torch.full((81, 81), -1)
    for cell in task.free.tolist():
        for other, steps in distances_from(task, cell).items():
            far[cell, other] = steps
    memory, paid = None, torch.zeros(40, dtype=torch.bool)
    due = torch.zeros(40, dtype=torch.long)  # steps until the oracle must be paid again
    for _ in range(task.horizon):
        action, memory = task.policies["oracle"](observation, memory, state, generator())
        step = task.step(state, action)
        state, observation, entered = step.state, step.observation, step.reward == 10
        due -= 1
        assert torch.equal(entered[paid], due[paid] == 0)
        paid |= entered
        due = torch.where(entered, far[state.position, state.goal], due)
    assert paid.all()


def test_the_oracle_looks_at_the_reward_cell_only_when_it_has_been_paid():
    """Wherever the reward cell is, it walks the same way until it finds it."""
    task = make_task("GridMaze")
    goals = task.free[task.free != 40]
    batch = len(goals)
    state = MazeState(torch.full((batch,), 40), goals, torch.full((200, batch), 10), 0)
    memory, observation, positions = None, torch.zeros(batch, 17), []
    paid = torch.zeros(200, batch, dtype=torch.bool)
    for time in range(200):
        action, memory = task.policies["oracle"](observation, memory, state, generator())
        step = task.step(state, action)
        state, observation = step.state, step.observation
        paid[time] = step.reward == 10
        positions.append(state.position)
    before = ~paid.cummax(0).values
    longest = before.sum(0).argmax()
    walk = torch.stack(positions)
    assert before.sum(0).max() > 39  # it has been on all other cells
    assert torch.equal(walk[before], walk[:, longest].unsqueeze(1).expand_as(walk)[before])


def test_the_picture_shows_the_path():
    task = make_task("GridMaze", length=4)
    state = place(task, (4, 4), goal=(3, 4), landing=(1, 3))
    actions = [torch.tensor([action]) for action in (UP, RIGHT)]
    for action in actions:
        state = task.step(state, action).state
    assert task.path(state, 0, actions) == ([40, 31, -1, 12, 13], 10.0)
