"""Agents of several species that share their worlds."""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from agents.agent import Agent, State
from agents.rules.base import Rule
from plastic_envs.utils.errors import UsageError


class Species(Agent):
    """S agents with parameters of their own: row r of a batch is lived by agent r mod S.

    So in worlds whose number of agents is a multiple of S, each species has as many agents as the others.

    Args:
        members: The agents; parameters of species k are named "members.k.…".

    Raises:
        UsageError: there are fewer than two, they differ in what they take and give, or normalise observations.
    """

    members: nn.ModuleList

    def __init__(self, members: Sequence[Agent]) -> None:
        sizes = sorted({(member.observation_size, member.output_size) for member in members})
        if len(members) < 2 or len(sizes) > 1:
            raise UsageError(f"species must be two or more agents of one size: {len(members)} of the sizes {sizes}")
        if any(member.normaliser is not None for member in members):
            raise UsageError("species see what they observe as it is: normalise_observations must be false")
        first = members[0]
        rule = _Rules([member.rule for member in members])
        super().__init__(first.observation_size, first.output_size, rule=rule, seed=first._seed)
        self.members = nn.ModuleList(members)
        self.batch_multiple = len(members)
        self.batched = all(member.batched for member in members)
        self.config = first.config | {"species": [member.config for member in members]}

    def _each(self) -> list[Agent]:
        return [member for member in self.members if isinstance(member, Agent)]

    def draw_birth(self, batch_size: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        """What each member draws."""
        size = self._size(batch_size)
        drawn = [member.draw_birth(size, generator) for member in self._each()]
        return {f"{number}.{name}": value for number, each in enumerate(drawn) for name, value in each.items()}

    def _size(self, batch_size: int) -> int:
        """How many rows each species lives.

        Raises:
            UsageError: some would live more than others.
        """
        if batch_size % len(self.members):
            raise UsageError(f"{batch_size} episodes cannot be dealt evenly to {len(self.members)} species")
        return batch_size // len(self.members)

    def initial_state(
        self,
        batch_shape: tuple[int, ...],
        birth: Mapping[str, Tensor] | None = None,
        steps: int | None = None,
        unscored: int = 0,
    ) -> State:
        """The members' states by their numbers."""
        shape = (*batch_shape[:-1], self._size(batch_shape[-1]))
        state: State = {}
        for number, member in enumerate(self._each()):
            prefix = f"{number}."
            own = {name.removeprefix(prefix): x for name, x in (birth or {}).items() if name.startswith(prefix)}
            state[str(number)] = member.initial_state(shape, own, steps, unscored)
        return state

    def live(self, percept: Tensor, state: State, record: dict[str, Tensor] | None = None) -> tuple[Tensor, State]:
        """Live one step: observation (..., B, D) to output (..., B, K)."""
        outputs, new = [], {}
        for number, member in enumerate(self._each()):
            rows, own = percept[..., number :: len(self.members), :], state[str(number)]
            output, new[str(number)] = member.live(member.perceive(rows[None], own)[0], own)
            outputs.append(output)
        rows = torch.broadcast_tensors(*outputs)  # type: ignore[no-untyped-call]
        return torch.stack(rows, -2).flatten(-3, -2), new

    def takes_population(self, names: Collection[str]) -> bool:
        """If all members do."""
        return all(
            member.takes_population([name.removeprefix(f"members.{number}.") for name in names])
            for number, member in enumerate(self._each())
        )

    def close_state(self, state: State) -> State:
        """Each member's state in its public form."""
        return {str(number): member.close_state(state[str(number)]) for number, member in enumerate(self._each())}


class _Rules(Rule):
    """The members' rules, which stay where they are."""

    needs = frozenset()

    def __init__(self, rules: Sequence[Rule]) -> None:
        super().__init__()
        self._rules = tuple(rules)  # no submodules: they are the members'

    def penalty(self) -> Tensor:
        """All penalties together."""
        return sum((rule.penalty() for rule in self._rules), start=torch.zeros(()))

    def describe(self) -> str:
        """The rules one below the other."""
        return "\n".join(f"species {number}\n{rule.describe()}" for number, rule in enumerate(self._rules))
