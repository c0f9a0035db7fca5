"""Species that evolve beside each other in the worlds they share."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from agents import Agent, Species
from evolution.searchers.base import Searcher, searched_names, with_parameters
from evolution.searchers.evolutionary.evotorch_search import EvoTorchSearcher
from evolution.searchers.make import make_searcher
from evolution.seeding import derive_seed
from plastic_envs.core.task import Task
from plastic_envs.utils.checks import check_int
from plastic_envs.utils.errors import UsageError


class SpeciesSearcher(Searcher):
    """Co-evolution: each species has a search distribution of its own, and meets the others' centres.

    In every generation each individual of a species lives in worlds of its own, which it shares with clones of itself
    and, in the other seats, with agents at the centres of the other species' distributions. Agent i of a world is of
    species i mod S. Fitness is that of the individual's own species.

    Source: M. Potter and K. De Jong 1994, "A cooperative coevolutionary approach to function optimization", whose
    representatives the centres are.

    Args:
        task: a world of many agents.
        agent: where each species starts.
        seed: root seed.
        searched: name patterns of the parameters to search.
        budget: episodes the search may present.
        of: the searcher of each species, by name and options.
        number: S, how many species.

    Raises:
        UsageError: the agents of a world cannot be dealt evenly to the species, or `of` is not a search by EvoTorch.
    """

    def __init__(
        self,
        task: Task,
        agent: Agent,
        *,
        seed: int = 0,
        searched: Sequence[str] = ("*",),
        budget: int | None = None,
        of: str = "pgpe",
        number: int = 2,
    ) -> None:
        number = check_int("number", number, low=2)
        if task.agents_per_world % number:
            raise UsageError(
                f"the agents of a world, {task.agents_per_world}, cannot be dealt evenly to number={number} species"
            )
        names = searched_names(agent, searched)
        every = [f"members.{species}.{name}" for species in range(number) for name in names]
        super().__init__(
            task, Species([copy.deepcopy(agent) for _ in range(number)]), seed=seed, searched=every, budget=budget
        )
        self.species: list[EvoTorchSearcher] = []
        for species in range(number):
            made = make_searcher(
                of,
                task,
                self._agent,
                seed=derive_seed(seed, f"species {species}"),
                searched=[f"members.{species}.{name}" for name in names],
                budget=budget,
            )
            if not isinstance(made, EvoTorchSearcher):
                raise UsageError(f"of={of!r}: species are searched by algorithms of EvoTorch")
            made.problem.rows = slice(species, None, number)
            self.species.append(made)

    def step(self) -> dict[str, float]:
        """One generation of each species among the others as they stand; "loss" is the mean over the species.

        What each told is there too, as "fitness_median.0" and so on.
        """
        centres = self._centres()
        told: list[dict[str, float]] = []
        for own in self.species:
            before = own.episodes, own.env_steps
            own.problem.others = centres
            told.append(own.step())
            self.ledger.count(own.episodes - before[0], env_steps=own.env_steps - before[1])
        apart = {f"{name}.{number}": value for number, each in enumerate(told) for name, value in each.items()}
        return {"loss": sum(each["loss"] for each in told) / len(told), **apart}

    def _centres(self) -> dict[str, Tensor]:
        """All species' parameters, at their centres."""
        values: dict[str, Tensor] = {}
        for own in self.species:
            values |= own.problem.genomes_to_parameters(own.genome())
        return values

    @torch.no_grad()
    def agent(self) -> Agent:
        """All species, each at its centre."""
        return with_parameters(self._agent, self._centres())

    def state_dict(self) -> dict[str, Any]:
        """What each species' search holds."""
        return super().state_dict() | {"species": [own.state_dict() for own in self.species]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        super().load_state_dict(state)
        for own, saved in zip(self.species, state["species"], strict=True):
            own.load_state_dict(saved)

    def spread_over(self, actors: int) -> None:
        """Each species has so many, which work while those of the others have nothing to do."""
        for own in self.species:
            own.problem.spread_over(actors, share=1 / len(self.species))
