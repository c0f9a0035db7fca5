"""Games that neighbours on a ring play again and again, in which there is something to learn from each other."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from plastic_envs.core.schedule import replace_time
from plastic_envs.core.task import Metric, Policy, Slice, Step, layout, replace_rows
from plastic_envs.core.world_task import WorldTask
from plastic_envs.utils.checks import check_bool, check_choice, check_int
from plastic_envs.utils.errors import UsageError

Game = Literal["coordination", "dilemma"]
DILEMMA = ((0.6, 0.0), (1.0, 0.2))
"""Payoffs 3, 0, 5 and 1 over 5: of who cooperates (first row) or defects, by what the other does."""


class RepeatedGameState(NamedTuple):
    """Where W rings of N agents stand."""

    symbols: Tensor  # (W, N, A) the symbol that an agent's actions show
    last: Tensor  # (..., W, N) the symbols shown last
    time: int | Tensor  # the step that all worlds have reached, or (W,)


class RepeatedGame(WorldTask):
    """Agents on a ring play a game of two with either neighbour, by one action for both, again and again.

    ## Description
    `game="coordination"`: two neighbours who show the same of `n_actions` symbols are paid 1, others 0. With `relabel`
    each agent's actions show the symbols in an order of its own, drawn for its life, so that no convention can be
    born with: agents must find one by what they see of each other. `game="dilemma"`: the prisoner's dilemma; 0
    cooperates, 1 defects; two who cooperate are paid 0.6, two who defect 0.2, one who defects against one who
    cooperates 1, that one 0.

    ## Observation Space
    `left` and `right`, the symbols that the neighbours have shown last, one-hot, zeros at the start; `action`, one's
    own last action, likewise; `reward`, of the last step.

    ## Action Space
    `Discrete(n_actions)`.

    ## Rewards
    The mean of what the two games pay. The metric is the total.

    ## Policies
    `random` takes every action equally often. Coordination: `oracle` shows symbol 0, and is paid 1 a step. Dilemma:
    `oracle` always cooperates, which is best for all; `defect` never does; `tit-for-tat` does unless a neighbour has
    just defected.

    ## Arguments
    * `game` ("coordination"), `n_agents` (8; from 3), `n_actions` (2; the dilemma has two), `length` (50), `relabel`
      (true; of coordination): see above.

    Sources: conventions: H. P. Young 1993, "The evolution of conventions", Econometrica 61; the dilemma's payoffs:
    R. Axelrod 1984, "The Evolution of Cooperation".
    """

    action_kind: Literal["box", "discrete"] = "discrete"
    metric_kind: Metric = "reward"

    def __init__(
        self,
        game: Game = "coordination",
        n_agents: int = 8,
        n_actions: int = 2,
        length: int = 50,
        relabel: bool = True,
    ) -> None:
        self.game = check_choice("game", game, get_args(Game))
        self.agents_per_world = check_int("n_agents", n_agents, 3)
        self.output_size = check_int("n_actions", n_actions, 2)
        self.horizon = check_int("length", length, 1)
        self.relabel = check_bool("relabel", relabel) and game == "coordination"
        if game == "dilemma" and n_actions != 2:
            raise UsageError(f"n_actions={n_actions}: in the dilemma one cooperates or defects, which makes 2")
        self.payoff = torch.eye(n_actions) if game == "coordination" else torch.tensor(DILEMMA)
        self.slices: Mapping[str, Slice] = layout(
            {"left": n_actions, "right": n_actions, "action": n_actions, "reward": 1}
        )
        self.policies: dict[str, Policy] = {"random": self.uniform, "oracle": self.first_symbol}
        if game == "dilemma":
            self.policies |= {"defect": self.defect, "tit-for-tat": self.tit_for_tat}

    def reset(self, batch_size: int, generator: torch.Generator) -> tuple[RepeatedGameState, Tensor]:
        """Draw what each agent's actions show."""
        worlds, n, device = self.worlds(batch_size), self.agents_per_world, generator.device
        symbols = torch.arange(self.output_size, device=device).expand(worlds, n, -1)
        if self.relabel:
            symbols = torch.rand(symbols.shape, generator=generator, device=device).argsort(-1)
        last = torch.zeros(worlds, n, dtype=torch.int64, device=device)
        observation = torch.zeros(batch_size, self.observation_size, device=device)
        return RepeatedGameState(symbols, last, 0), observation

    def step(self, state: RepeatedGameState, action: Tensor) -> Step:
        """Let all neighbours play: (..., B) numbers of actions."""
        symbols, _, time = state
        action = self.apart(action)  # (..., W, N)
        shown = symbols.expand(*action.shape, -1).gather(-1, action.unsqueeze(-1)).squeeze(-1)
        left, right = shown.roll(1, -1), shown.roll(-1, -1)
        payoff = self.payoff.to(shown.device).flatten()
        reward = (payoff[shown * self.output_size + left] + payoff[shown * self.output_size + right]) / 2
        time = time + 1
        over = torch.as_tensor(time >= self.horizon, device=shown.device)
        parts = [one_hot(part, self.output_size).float() for part in (left, right, action)]
        observation = torch.cat([*parts, reward.unsqueeze(-1)], -1).masked_fill(over.view(-1, 1, 1), 0)
        reward = self.together(reward)
        terminated = self.together(over.view(-1, 1).expand(shown.shape[-2], self.agents_per_world)).expand_as(reward)
        scored = torch.ones_like(reward, dtype=torch.bool)
        new = RepeatedGameState(symbols, shown, time)
        return Step(new, self.together(observation, -2), reward, terminated, reward, scored)

    def replace(self, state: RepeatedGameState, mask: Tensor, fresh: RepeatedGameState) -> RepeatedGameState:
        """The state with the worlds of `mask` (B,) replaced by those of the state `fresh`, in order."""
        mask = self.whole_worlds(mask)
        symbols, last = replace_rows((state.symbols, state.last), mask, (fresh.symbols, fresh.last))
        return RepeatedGameState(symbols, last, replace_time(state.time, mask, fresh.time))

    def first_symbol(
        self, observation: Tensor, memory: None, state: RepeatedGameState, generator: torch.Generator
    ) -> tuple[Tensor, None]:
        """The oracle: it shows symbol 0, which in the dilemma cooperates."""
        return self.together(state.symbols.argmin(-1)).expand(observation.shape[:-1]), None

    def defect(
        self, observation: Tensor, memory: None, state: RepeatedGameState, generator: torch.Generator
    ) -> tuple[Tensor, None]:
        """Always defects."""
        return torch.ones(observation.shape[:-1], dtype=torch.int64, device=observation.device), None

    def tit_for_tat(
        self, observation: Tensor, memory: None, state: RepeatedGameState, generator: torch.Generator
    ) -> tuple[Tensor, None]:
        """Defects after a neighbour has."""
        left, right = (observation[..., self.slices[name].columns][..., 1] for name in ("left", "right"))
        return torch.maximum(left, right).long(), None

    def draw(self, figure: Any, state: RepeatedGameState, index: int, actions: Sequence[Tensor]) -> None:
        """Draw the ring: the symbol that each agent has shown last, by colour."""
        self.draw_species(figure, state, index, actions, 1)

    def draw_species(
        self, figure: Any, state: RepeatedGameState, index: int, actions: Sequence[Tensor], number: int
    ) -> None:
        """The same with the number of each agent's species outside the ring, where there are several."""
        world, agent = divmod(index, self.agents_per_world)
        axes = figure.add_axes((0.1, 0.08, 0.8, 0.82))
        angle = torch.linspace(0, 2 * torch.pi, self.agents_per_world + 1)
        x, y = angle.sin().numpy(), angle.cos().numpy()
        shown = state.last[world].tolist() if actions else [None] * self.agents_per_world
        axes.plot(x, y, color="0.7", zorder=0)
        for place, symbol in enumerate(shown):
            color = "white" if symbol is None else f"C{symbol}"
            axes.scatter(x[place], y[place], 500, color=color, edgecolors="black", lw=3 if place == agent else 1)
            axes.annotate("" if symbol is None else str(symbol), (x[place], y[place]), ha="center", va="center")
            if number > 1:
                at = (1.22 * x[place], 1.22 * y[place])
                axes.annotate(f"species {place % number + 1}", at, ha="center", va="center", fontsize=7)
        axes.set(xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), aspect="equal")
        axes.set_axis_off()
        figure.text(0.5, 0.95, f"RepeatedGame · step {len(actions)}/{self.horizon}", ha="center", va="center")
        figure.text(
            0.5, 0.03, "numbers: what each showed last; thick: this agent", ha="center", va="center", fontsize=8
        )
