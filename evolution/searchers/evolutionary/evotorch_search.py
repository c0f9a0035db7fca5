"""EvoTorch's algorithms as searchers of meta-parameters."""

import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from agents import Agent
from agents.rollouts.sizes import check_lives
from evolution.searchers.base import Diverged, Searcher, check_options, with_parameters
from evolution.searchers.evolutionary.evotorch_problem import (
    EpisodesProblem,
    Lived,
    MixedProblem,
)  # before anything of evotorch: it keeps the import quiet
from evolution.searchers.evolutionary.generation import generation_metrics, rule_metrics
from plastic_envs.core.matchmaking import Matchmaking
from plastic_envs.core.task import Task
from plastic_envs.utils.checks import check_choice, check_float, check_int, check_memory, in_gb
from plastic_envs.utils.errors import UsageError, WrongTypeError
from plastic_envs.utils.registry import load_object

# isort: split
from evotorch import Problem
from evotorch.algorithms import CMAES, XNES, GeneticAlgorithm, SearchAlgorithm
from evotorch.operators import GaussianMutation

from evolution.searchers.evolutionary.object_state import capture, restore

PROBLEMS = {"clones": EpisodesProblem, "mixed": MixedProblem}
"""Who shares a world, and what evaluates them."""

COVARIANCE_WARNING = 1000
"""Searched parameters above which a full covariance matrix is worth a warning."""


class EvoTorchSearcher(Searcher):
    """Any EvoTorch `SearchAlgorithm` over the meta-parameters.

    The agent it stands for is the centre of the search distribution, not the best individual seen, which is chosen by
    luck. An algorithm without a centre (a genetic algorithm) stands for the survivor with the best fitness on the
    episodes of the last generation; report its score on other episodes only.

    Args:
        task: what the individuals live through.
        agent: the initial centre, or parent of the initial population.
        algorithm: a name in `evotorch.algorithms`, `module:Name`, or what that stands for: called with the problem
            and the options, it gives a `SearchAlgorithm`.
        seed: root seed of the episodes and of the search.
        searched: name patterns of the parameters to search.
        budget: not used: no schedule depends on it.
        episodes: B, episodes that each individual lives through in a generation.
        stdev_init: initial standard deviation, of the search distribution or of the initial population.
        worlds: who shares a world of many agents: "clones" of one individual, so that fitness is the group's, or
            "mixed", individuals of the population by lot, each in `episodes` worlds of a generation, whose fitness is
            their own.
        options: the algorithm's own keywords.

    Raises:
        UsageError: an option is unknown or out of range, or the covariance matrix does not fit in memory.
    """

    def __init__(
        self,
        task: Task,
        agent: Agent,
        *,
        algorithm: str | Callable[..., SearchAlgorithm],
        seed: int = 0,
        searched: Sequence[str] = ("*",),
        budget: int | None = None,
        episodes: int = 16,
        stdev_init: float = 0.05,
        worlds: str = "clones",
        **options: Any,
    ) -> None:
        super().__init__(task, agent, seed=seed, searched=searched, budget=budget)
        episodes = check_int("episodes", episodes, low=1)
        stdev_init = check_float("stdev_init", stdev_init, low=1e-9)
        check_lives(agent, task, episodes, what=f"episodes={episodes}")
        make = _find(algorithm)
        name, takes = getattr(make, "__name__", str(make)), inspect.signature(make).parameters
        check_options(name, make, options)
        if options.get("popsize") is not None:  # a search distribution cannot move towards the only one of one
            least = 2 if "center_init" in takes else 1
            options["popsize"] = individuals = check_int("popsize", options["popsize"], low=least)
            taken = 12e-9 * individuals * self.n_searched  # in float32, with noise and a gradient
            words = f"popsize={individuals} genomes of {self.n_searched:,} numbers take {in_gb(taken)}"
            check_memory(words, taken, "take fewer, or search fewer parameters")
            check_lives(agent, task, episodes, individuals, f"popsize={individuals}, episodes={episodes}")
        if make in (CMAES, XNES) and not options.get("separable", False):
            check_covariance(name, self.n_searched, options.get("popsize", 1) if make is CMAES else 1)
        self._agent.requires_grad_(False)
        if check_choice("worlds", worlds, PROBLEMS) == "clones":
            task.worlds(episodes)  # refuses what does not fill them
        self.problem = PROBLEMS[worlds](
            task, self._agent, self.searched, episodes=episodes, spread=stdev_init, seed=seed
        )
        self.problem.ledger = self.ledger
        if "operators" in takes and not options.get("operators"):
            raise UsageError(
                f"searcher {name!r} needs operators, which have no name: write a function that gives it some, "
                "as evolution.searchers.evolutionary.evotorch_search:genetic_algorithm does, and name that"
            )
        if "center_init" in takes:
            options["center_init"] = self.problem.initial.clone()
        if "stdev_init" in takes:
            options["stdev_init"] = stdev_init
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "To copy construct from a tensor")  # inside CMAES
            self.algorithm = make(self.problem, **options)
        if not isinstance(self.algorithm, SearchAlgorithm):
            raise WrongTypeError(
                f"searcher {name!r} gave a {type(self.algorithm).__name__}, not an EvoTorch SearchAlgorithm"
            )
        popsize = getattr(self.algorithm, "popsize", getattr(self.algorithm, "_popsize", None))
        if worlds == "mixed" and isinstance(popsize, int):
            Matchmaking(task, popsize)  # refuses whom it cannot seat, before anything is done

    def step(self) -> dict[str, float]:
        """One generation: what `generation_metrics` tells of it, and the rule's coefficients at the centre."""
        self.problem.begin_generation()
        try:
            self.algorithm.step()
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise Diverged(f"{type(self.algorithm).__name__} after {self.episodes} episodes: {error}") from error
        lived, genomes = zip(*self.problem.lived, strict=True)
        self.update_normalisation(*(each.seen for each in lived))
        told = generation_metrics(Lived.joined(lived), torch.cat(genomes))
        centre = self.genome()
        if "loss" not in told or not bool(centre.isfinite().all()):
            raise Diverged(f"no individual with a finite loss, or no finite centre, after {self.episodes} episodes")
        return told | rule_metrics(self.problem.genomes_to_parameters(centre))

    def genome(self) -> Tensor:
        """The point (n,) that the search stands at."""
        if self.algorithm.step_count == 0:
            return self.problem.initial
        if "center" in self.algorithm.status:
            genome = self.algorithm.status["center"]
        else:
            population = self.algorithm.population
            genome = population.values[int(population.argbest())]
        return torch.as_tensor(genome).as_subclass(Tensor)

    def spread_over(self, actors: int) -> None:
        """Deal the individuals to so many actors of Ray, see `evolution.searchers.evolutionary.actors`."""
        self.problem.spread_over(actors)

    def agent(self) -> Agent:
        """The agent at the centre of the search distribution, see the class."""
        return with_parameters(self._agent, self.problem.genomes_to_parameters(self.genome()))

    def state_dict(self) -> dict[str, Any]:
        """What the algorithm holds, and the generators of the search and of the episodes."""
        return super().state_dict() | {
            "algorithm": capture(self.algorithm),
            "search_generator": self.problem.generator.get_state(),
            "task_generator": self.problem.task_generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        super().load_state_dict(state)
        self.problem.ledger = self.ledger
        restore(self.algorithm, state["algorithm"])
        self.problem.generator.set_state(state["search_generator"])
        self.problem.task_generator.set_state(state["task_generator"])


def _find(algorithm: str | Callable[..., SearchAlgorithm]) -> Callable[..., SearchAlgorithm]:
    if not isinstance(algorithm, str):
        return algorithm
    own = ":" in algorithm
    target = algorithm if own else f"evotorch.algorithms:{algorithm}"
    found: Callable[..., SearchAlgorithm] = load_object(target, "searcher", own=own)
    return found


def genetic_algorithm(
    problem: Problem, *, popsize: int, mutation_stdev: float = 0.02, elitist: bool = True
) -> GeneticAlgorithm:
    """Mutation only, as in Such et al. 2017 (arXiv:1712.06567, section 3.1), which found crossover no help.

    Each generation every parent has one child with Gaussian noise on all parameters; parents and children are
    evaluated on the same fresh episodes (2 × `popsize` × B of them), and the better half goes on.
    """
    mutation = GaussianMutation(problem, stdev=mutation_stdev)
    return GeneticAlgorithm(problem, operators=[mutation], popsize=popsize, elitist=elitist)


def is_algorithm(target: object) -> bool:
    """Whether `target` is a class of EvoTorch search algorithms."""
    return isinstance(target, type) and issubclass(target, SearchAlgorithm) and target is not SearchAlgorithm


def check_covariance(name: str, n: int, copies: int) -> None:
    """Warn of the cost of an n×n covariance matrix, or refuse one that does not fit in this machine's memory.

    Time from a measurement: 1.5 to 2 s a generation at n = 2,000 on one core, growing with n³. CMAES updates the
    matrix with `copies` rank-one products at once.
    """
    if n <= COVARIANCE_WARNING:
        return
    gigabytes, seconds = 4 * n * n * (4 + copies) / 1e9, 1.75 * (n / 2000) ** 3
    cost = f"{name} on {n:,} parameters takes some {gigabytes:.2g} GB and {seconds:.2g} s a generation"
    advice = "'snes' or 'cmaes,separable=true' keep a diagonal only, and searched patterns leave parameters out"
    check_memory(cost, gigabytes, advice)
    warnings.warn(f"{cost} for its covariance matrix; {advice}", stacklevel=3)
