"""Forage among others for food whose meaning must be found out."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding

from plastic_envs.core.schedule import at_time, replace_time
from plastic_envs.core.task import Metric, Slice, Step, layout, replace_rows
from plastic_envs.core.world_task import WorldTask
from plastic_envs.utils.checks import check_bool, check_float, check_int
from plastic_envs.utils.errors import UsageError
from plastic_envs.worlds.shortest_paths import FAR, distances

MOVES = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
"""Rows and columns that an action adds: stay, up, down, left, right."""
VIEW = 5
"""Cells in a row and in a column of what an agent sees around it."""
COLORS = ("#009E73", "#D55E00", "#0072B2", "#CC79A7", "#8C6D31", "#E69F00")  # told apart by colour-blind readers
MARKERS = ("o", "^", "D", "v", "P", "X")  # of species
NO_LOT = 2**30
"""Larger than any lot."""


class Places(NamedTuple):
    """Where food grows back: the j-th piece eaten in a step on empty cell number (start + j · stride) mod their number.

    The stride is so short that pieces eaten at once come to different cells; each cell is as likely as any other.
    """

    start: Tensor  # (T, W) from 0 to 1, as part of the empty cells
    stride: Tensor  # (T, W) likewise


class ForagingState(NamedTuple):
    """Where W worlds stand; cells are numbered row by row.

    What lies in a cell is 0 for nothing, the kind of food from 1, or the number of kinds + 1 for a wall. Behind the
    last cell is one that is no part of the world, where agents put down what they do not have.
    """

    food: Tensor  # (..., W, cells + 1) uint8
    position: Tensor  # (..., W, N) cells
    value: Tensor  # (W, 1 + kinds) what a kind is worth at first; 0 for nothing
    lot: Tensor  # (T, W, N) int32, who gets food that several arrive at: the least
    places: Places
    time: int | Tensor  # the step that all worlds have reached, or (W,)


class Foraging(WorldTask):
    """Agents on a torus eat food of several kinds, of which half feeds and half poisons: which, only trying tells.

    ## Description
    A torus of `size` × `size` cells has food of `n_kinds` kinds on it, each at `density` of the cells, and `n_agents`
    agents on empty cells, all at random, and walls at a part `walls` of the cells, which may enclose some. For each
    world half of the kinds (the smaller half if they are odd) are drawn that feed; all others poison. If the kinds are
    even, every second world of a batch means the opposite of the one before it, so that batches are balanced. Food
    goes to the agent that moves onto it, by a fair draw if several do, and as much of the same kind grows back on an
    empty cell at random. Agents may share a cell. With `fixed_meaning` the first half of the kinds feeds in every
    world. With `reversal` what feeds and what poisons change places at half time.

    ## Observation Space
    For each kind of food the 5 × 5 cells around the agent, row by row, 1 where it lies (`food 1` …); the number of
    other agents in each of these cells (`others`); `reward`, of the last step; `action`, the last one, one-hot, zeros
    at the start. With walls, behind the food, the 5 × 5 cells where they are (`walls`).

    ## Action Space
    `Discrete(5)`: 0 stay, 1 up, 2 down, 3 left, 4 right.

    ## Rewards
    The change of energy: 1 for food that feeds, −`poison` for food that poisons. The metric is the total.

    ## Policies
    `random` takes every action equally often. `fixed` walks to the nearest food of the kinds in the first half,
    whatever they mean, and onto no other. `oracle` does so with the kinds that feed.

    ## Arguments
    * `size` (16; from 5), `n_agents` (8), `length` (200), `n_kinds` (2; from 2 to 6), `density` (0.1; of each kind),
      `poison` (1), `fixed_meaning` (false), `reversal` (false), `walls` (0): see above.
    """

    output_size = len(MOVES)
    action_kind: Literal["box", "discrete"] = "discrete"
    metric_kind: Metric = "reward"

    def __init__(
        self,
        size: int = 16,
        n_agents: int = 8,
        length: int = 200,
        n_kinds: int = 2,
        density: float = 0.1,
        poison: float = 1.0,
        fixed_meaning: bool = False,
        reversal: bool = False,
        walls: float = 0.0,
    ) -> None:
        self.size, self.cells = check_int("size", size, VIEW, 100), size**2
        self.agents_per_world = check_int("n_agents", n_agents, 1)
        self.horizon = check_int("length", length, 1)
        self.n_kinds = check_int("n_kinds", n_kinds, 2, len(COLORS))
        self.density = check_float("density", density, 0.0, 1.0)
        self.poison = check_float("poison", poison, 0.0)
        self.pieces = max(1, round(density * self.cells))  # of each kind
        self.fixed_meaning = check_bool("fixed_meaning", fixed_meaning)
        self.reversal = check_bool("reversal", reversal)
        self.walls = round(check_float("walls", walls, 0.0, 1.0) * self.cells)
        empty = self.cells - n_kinds * self.pieces - self.walls
        if empty < n_agents:
            raise UsageError(
                f"density={density} and walls={walls} leave {max(0, empty)} cells empty, which is too few for "
                f"n_agents={n_agents} and for food to grow back: take less of something"
            )
        self.observation_bound = max(1.0, self.poison, float(n_agents))
        kinds = [f"food {kind}" for kind in range(1, n_kinds + 1)] + ["walls"] * bool(self.walls)
        views: dict[str, int | tuple[int, ...]] = dict.fromkeys([*kinds, "others"], (VIEW, VIEW))
        self.slices: Mapping[str, Slice] = layout(views | {"reward": 1, "action": len(MOVES)})
        self.policies = {"random": self.uniform, "fixed": self.prefer_first, "oracle": self.prefer_food}
        cells = np.arange(self.cells).reshape(size, size)
        around = range(-(VIEW // 2), VIEW // 2 + 1)
        self.neighbours = _shifted(cells, MOVES).view(-1, 1)  # (5 cells, 1)
        self.one_hot = torch.eye(len(MOVES))
        self.seen = _shifted(cells, [(row, column) for row in around for column in around])  # (cells, 25)

    def reset(self, batch_size: int, generator: torch.Generator) -> tuple[ForagingState, Tensor]:
        """Draw worlds: where food lies and agents stand, what it means, and all that chance will decide."""
        worlds, device, n, length = self.worlds(batch_size), generator.device, self.agents_per_world, self.horizon
        order = torch.rand(worlds, self.cells, generator=generator, device=device).argsort(1)
        counts = [*[self.pieces] * self.n_kinds, self.walls, n]
        *foods, walls, position, _ = torch.split(order, [*counts, self.cells - sum(counts)], 1)
        food = torch.zeros(worlds, self.cells + 1, dtype=torch.uint8, device=device)
        for kind, cells in enumerate([*foods, walls], 1):
            food.scatter_(1, cells, kind)
        ranks = self._draw_ranks(worlds, generator)
        feeds = torch.where(ranks < self.n_kinds // 2, 1.0, -self.poison)
        value = torch.cat([feeds.new_zeros(worlds, 1), feeds], 1)
        # the number of the agent keeps lots apart
        lot = torch.randint(NO_LOT // n - 1, (length, worlds, n), generator=generator, device=device, dtype=torch.int32)
        lot = lot * n + torch.arange(n, dtype=torch.int32, device=device)
        start, stride = torch.rand(2, length, worlds, 1, generator=generator, device=device)
        state = ForagingState(food, position, value, lot, Places(start, stride), 0)
        return state, self._look(food, position, torch.zeros(worlds, n, device=device), None)

    @property
    def drawn_together(self) -> int:
        """The agents of two worlds, where one means the opposite of the other."""
        return self.agents_per_world * (1 if self.fixed_meaning or self.n_kinds % 2 else 2)

    def _draw_ranks(self, worlds: int, generator: torch.Generator) -> Tensor:
        """Put the kinds in an order (W, kinds) in each world: those of the first half feed."""
        if self.fixed_meaning:
            return torch.arange(self.n_kinds, device=generator.device).expand(worlds, -1)
        ranks = torch.rand((worlds + 1) // 2, self.n_kinds, generator=generator, device=generator.device).argsort(1)
        second = self.n_kinds - 1 - ranks
        if self.n_kinds % 2:
            second = torch.rand(ranks.shape, generator=generator, device=generator.device).argsort(1)
        return torch.stack([ranks, second], 1).flatten(0, 1)[:worlds]

    def step(self, state: ForagingState, action: Tensor) -> Step:
        """Move all agents, then let them eat: (..., B) numbers of `MOVES`."""
        food, position, value, lot, places, time = state
        action = self.apart(action)  # (..., W, N)
        food = food.expand(*action.shape[:-1], -1)
        aim = embedding(len(MOVES) * position + action, self.neighbours.to(food.device)).squeeze(-1)
        found = food.gather(-1, aim)
        if self.walls:
            blocked = found > self.n_kinds
            aim, found = torch.where(blocked, position, aim), found.masked_fill(blocked, 0)
        arrives = (found > 0) & (action > 0)
        lots = torch.where(arrives, at_time(lot, time), NO_LOT)
        least = torch.full_like(food[..., :-1], NO_LOT, dtype=torch.int32).scatter_reduce(-1, aim, lots, "amin")
        eats = arrives & (least.gather(-1, aim) == lots)
        eaten = found.masked_fill(~eats, 0)
        reward = self._worth(value, time).expand(*food.shape[:-1], -1).gather(-1, eaten.long())
        grows = self._grow(food, eats, places, time)
        food = food.scatter(-1, aim.masked_fill(~eats, self.cells), 0).scatter(-1, grows, eaten)
        time = time + 1
        over = torch.as_tensor(time >= self.horizon, device=food.device)
        terminated = self.together(over.unsqueeze(-1).expand(value.shape[0], self.agents_per_world))  # (B,)
        observation = self._look(food, aim, reward, action)
        if not isinstance(time, int) or time >= self.horizon:
            observation = observation.masked_fill(terminated.unsqueeze(-1), 0)
        reward = self.together(reward)
        return Step(
            ForagingState(food, aim, value, lot, places, time),
            observation,
            reward,
            terminated.expand_as(reward),
            reward,
            torch.ones_like(reward, dtype=torch.bool),
        )

    def _worth(self, value: Tensor, time: int | Tensor) -> Tensor:
        """What each kind is worth now (W, 1 + kinds)."""
        if not self.reversal:
            return value
        later = torch.as_tensor(time >= self.horizon // 2, device=value.device)
        nothing, kinds = value.tensor_split((1,), 1)
        return torch.cat([nothing, torch.where(later.unsqueeze(-1), 1 - self.poison - kinds, kinds)], 1)

    def _grow(self, food: Tensor, eats: Tensor, places: Places, time: int | Tensor) -> Tensor:
        """The cell (..., W, N) on which what each agent eats grows back; the one behind the last if it eats nothing."""
        empty = (1 - food[..., :-1].clamp(max=1)).cumsum(-1, dtype=torch.int32)
        number = empty[..., -1:]
        start, stride = (at_time(part, time) for part in places)  # (W, 1)
        step = 1 + (stride * (number / self.agents_per_world - 1)).int()  # at most number / N
        rank = ((start * number).int() + (eats.cumsum(-1, dtype=torch.int32) - 1) * step) % number
        grows = torch.searchsorted(empty, rank + 1)
        return grows.masked_fill(~eats, self.cells)

    def _look(self, food: Tensor, position: Tensor, reward: Tensor, action: Tensor | None) -> Tensor:
        """What all agents see (..., B, D)."""
        cells = embedding(position, self.seen.to(food.device))  # (..., W, N, 25)
        flat = cells.flatten(-2)
        lies = food.gather(-1, flat).view(cells.shape)
        there = torch.zeros(*position.shape[:-1], self.cells, dtype=torch.uint8, device=food.device)
        there = there.scatter_add(-1, position, torch.ones_like(position, dtype=torch.uint8))
        # written part by part: joining parts as narrow as these takes three times as long
        seen = lies.new_zeros(*position.shape, self.observation_size, dtype=torch.float32)
        bits = torch.ones_like(lies) << lies  # shifts of bytes are several times as fast as comparing them
        for kind in range(1, self.n_kinds + 1 + bool(self.walls)):
            seen[..., (kind - 1) * VIEW**2 : kind * VIEW**2] = (bits >> kind) & 1
        others = self.slices["others"].columns
        seen[..., others] = there.gather(-1, flat).view(cells.shape)
        seen[..., others.start + VIEW**2 // 2] -= 1  # who looks
        seen[..., others.stop] = reward
        if action is not None:
            seen[..., others.stop + 1 :] = embedding(action, self.one_hot.to(food.device))
        return self.together(seen, -2)

    def replace(self, state: ForagingState, mask: Tensor, fresh: ForagingState) -> ForagingState:
        """The state with the worlds of `mask` (B,) replaced by those of the state `fresh`, in order."""
        mask = self.whole_worlds(mask)
        food, position, value = replace_rows(
            (state.food, state.position, state.value), mask, (fresh.food, fresh.position, fresh.value)
        )
        lot, places = replace_rows((state.lot, state.places), mask, (fresh.lot, fresh.places), dim=1)
        return ForagingState(food, position, value, lot, places, replace_time(state.time, mask, fresh.time))

    def prefer_first(
        self, observation: Tensor, memory: None, state: ForagingState, generator: torch.Generator
    ) -> tuple[Tensor, None]:
        """The fixed policy: the kinds of the first half are food, the others are not."""
        kinds = torch.arange(self.n_kinds + 1, device=observation.device)
        liked = (kinds > 0) & (kinds <= self.n_kinds // 2)
        return self._walk(state, liked.expand(*state.food.shape[:-1], -1), generator), None

    def prefer_food(
        self, observation: Tensor, memory: None, state: ForagingState, generator: torch.Generator
    ) -> tuple[Tensor, None]:
        """The oracle: it knows what feeds at present."""
        liked = self._worth(state.value, state.time) > 0
        return self._walk(state, liked.expand(*state.food.shape[:-1], -1), generator), None

    def _walk(self, state: ForagingState, liked: Tensor, generator: torch.Generator) -> Tensor:
        """First steps (..., B) of shortest ways to food that is liked (..., W, 1 + kinds), past all other food.

        Of several a lot decides, so that agents in one cell do not go on side by side.
        """
        lies = state.food[..., :-1].long()
        liked = torch.cat([liked, torch.zeros_like(liked[..., :1])], -1).gather(-1, lies)  # (..., W, cells)
        neighbours = self.neighbours.to(lies.device).view(self.cells, len(MOVES))
        way = distances(*(torch.unflatten(part, -1, (self.size, self.size)) for part in (liked, (lies > 0) & ~liked)))
        aims = neighbours[state.position]  # (..., W, N, 5)
        cost = way.flatten(-2).gather(-1, aims.flatten(-2)).view(aims.shape).float()
        cost[..., 0] = FAR  # where it stays it comes no nearer
        # for a population once
        cost += 0.5 * torch.rand(cost.shape[-3:], generator=generator, dtype=cost.dtype, device=cost.device)
        return self.together(cost.argmin(-1))

    def draw(self, figure: Any, state: ForagingState, index: int, actions: Sequence[Tensor]) -> None:
        """Draw the world of one agent from above: food, walls, and all agents, this one filled."""
        self.draw_species(figure, state, index, actions, 1)

    def draw_species(
        self, figure: Any, state: ForagingState, index: int, actions: Sequence[Tensor], number: int
    ) -> None:
        """The same with another mark for each of a number of species, which agents belong to in turn."""
        world, agent = divmod(index, self.agents_per_world)
        axes = figure.add_axes((0.02, 0.12, 0.96, 0.8))
        lies = state.food[world, :-1].view(self.size, self.size)
        worth = self._worth(state.value, state.time)[world].tolist()
        axes.imshow((lies > self.n_kinds).numpy(), cmap="Greys", vmin=0, vmax=1.5)
        for kind in range(1, self.n_kinds + 1):
            rows, columns = np.nonzero((lies == kind).numpy())
            label = f"food {kind}, {worth[kind]:+g}"
            axes.scatter(columns, rows, 60, marker="s", color=COLORS[kind - 1], alpha=0.7, label=label)
        rows, columns = np.divmod(state.position[world].numpy(), self.size)
        for species in range(number):
            own = slice(species, None, number)
            marker = MARKERS[species % len(MARKERS)]
            axes.scatter(columns[own], rows[own], 40, c="white", marker=marker, edgecolors="black", zorder=3,
                         label="agents" if number == 1 else f"species {species + 1}")  # fmt: skip
        own_marker = MARKERS[agent % number % len(MARKERS)]
        axes.scatter(columns[agent], rows[agent], 40, c="black", marker=own_marker, zorder=4, label="this agent")
        axes.set(xlim=(-0.5, self.size - 0.5), ylim=(self.size - 0.5, -0.5))
        axes.set_xticks([])
        axes.set_yticks([])
        figure.text(0.5, 0.96, f"Foraging · step {len(actions)}/{self.horizon}", ha="center", va="center")
        figure.legend(loc="lower center", ncols=min(self.n_kinds + 1 + number, 6), fontsize=8, frameon=False)


def _shifted(cells: Any, shifts: Sequence[tuple[int, int]]) -> Tensor:
    """The cell that lies so many rows and columns from each, on the torus: (cells, shifts) int64."""
    return torch.from_numpy(np.stack([np.roll(cells, (-row, -column), (0, 1)).ravel() for row, column in shifts], -1))
