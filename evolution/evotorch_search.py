"""EvoTorch's algorithms on one vectorised problem: a population lives the same episodes as one batch."""

import inspect
import logging
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from agents import Agent, rollout
from evolution.searcher import Diverged, Ledger, Searcher, check_options, with_parameters
from evolution.seeding import derive_seed, make_generator
from plastic_envs.checks import check_float, check_int
from plastic_envs.errors import MissingExtraError, UsageError
from plastic_envs.registry import load_object
from plastic_envs.task import Task

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # evotorch 0.6 uses what torch and pandas deprecate
        from evotorch import Problem, SolutionBatch
        from evotorch.algorithms import CMAES, XNES, GeneticAlgorithm, SearchAlgorithm
        from evotorch.operators import GaussianMutation
        from evotorch.tools import set_default_logger_config

        from evolution.object_state import capture, restore
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] not in ("evotorch", "ray"):
        raise
    raise MissingExtraError("searching with EvoTorch", "evolution") from None

set_default_logger_config(logger_level=logging.WARNING, override=True)

COVARIANCE_WARNING = 1000
"""Searched parameters above which a full covariance matrix is worth a warning."""


class EpisodesProblem(Problem):  # type: ignore[misc]
    """Fitness of meta-parameters: minus the mean loss over episodes, the same ones for all of a generation.

    Args:
        task: what the individuals live through.
        agent: the network; its parameters that are not in `names` are everyone's.
        names: the parameters that make up a genome, in this order.
        episodes: B, episodes each individual lives through in a generation.
        spread: standard deviation of a population that an algorithm draws for itself, around the agent's parameters.
        seed: root seed of the episodes and of the search.
    """

    def __init__(
        self, task: Task, agent: Agent, names: Sequence[str], *, episodes: int, spread: float, seed: int
    ) -> None:
        parameters = dict(agent.named_parameters())
        self.task = task
        self.agent = agent
        self.shapes = {name: parameters[name].shape for name in names}
        self.initial = torch.cat([parameters[name].detach().flatten() for name in names])  # (n,)
        self.episodes = episodes
        self.spread = spread
        self.ledger = Ledger()
        self.task_generator = make_generator(seed, "task")
        self.generation_seed = 0
        self.losses: list[Tensor] = []
        super().__init__(
            "max",
            solution_length=len(self.initial),
            dtype=self.initial.dtype,
            device=self.initial.device,
            seed=derive_seed(seed, "searcher"),
            store_solution_stats=False,  # the best ever seen is the luckiest ever seen
        )

    def begin_generation(self) -> None:
        """Choose fresh episodes; every evaluation until the next call is on these."""
        self.generation_seed = int(torch.randint(2**62, (), generator=self.task_generator))
        self.losses = []

    def genomes_to_parameters(self, genomes: Tensor) -> dict[str, Tensor]:
        """Cut genomes (..., n) into parameters by name, (..., *shape) each."""
        parts = genomes.split([shape.numel() for shape in self.shapes.values()], dim=-1)
        return {
            name: part.unflatten(-1, shape) if shape else part.squeeze(-1)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def _fill(self, values: Tensor) -> None:
        values.normal_(generator=self.generator).mul_(self.spread).add_(self.initial)

    @torch.no_grad()
    def _evaluate_batch(self, batch: SolutionBatch) -> None:
        genomes = batch.values.as_subclass(Tensor)  # (P, n)
        generator = torch.Generator().manual_seed(self.generation_seed)
        parameters = self.genomes_to_parameters(genomes)
        lived = rollout(self.agent, self.task, self.episodes, generator, parameters=parameters)
        losses = lived.loss.mean(-1)  # (P, B) → (P,)
        self.ledger.count(len(genomes) * self.episodes, self.task.horizon)
        self.losses.append(losses)
        batch.set_evals(finite_fitness(-losses))


def finite_fitness(fitness: Tensor) -> Tensor:
    """Fitness (P,) with each value that is not finite made worse than every finite one."""
    finite = fitness[fitness.isfinite()]
    if not len(finite):
        return torch.zeros_like(fitness)
    worst = finite.min() - (finite.max() - finite.min()) - 1
    return torch.where(fitness.isfinite(), fitness, worst.clamp(min=torch.finfo(fitness.dtype).min))


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
        **options: Any,
    ) -> None:
        super().__init__(task, agent, seed=seed, searched=searched, budget=budget)
        check_int("episodes", episodes, low=1)
        check_float("stdev_init", stdev_init, low=0)
        if isinstance(algorithm, str):
            target = algorithm if ":" in algorithm else f"evotorch.algorithms:{algorithm}"
            algorithm = load_object(target, "searcher")
        name = getattr(algorithm, "__name__", str(algorithm))
        if algorithm in (CMAES, XNES) and not options.get("separable", False):
            check_covariance(name, self.n_searched, options.get("popsize", 1) if algorithm is CMAES else 1)
        self._agent.requires_grad_(False)
        self.problem = EpisodesProblem(
            task, self._agent, self.searched, episodes=episodes, spread=stdev_init, seed=seed
        )
        self.problem.ledger = self.ledger
        takes = inspect.signature(algorithm).parameters
        if "center_init" in takes:
            options["center_init"] = self.problem.initial.clone()
        if "stdev_init" in takes:
            options["stdev_init"] = stdev_init
        check_options(name, algorithm, options)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "To copy construct from a tensor")  # inside CMAES
            self.algorithm = algorithm(self.problem, **options)
        if not isinstance(self.algorithm, SearchAlgorithm):
            raise UsageError(
                f"searcher {name!r} gave a {type(self.algorithm).__name__}, not an EvoTorch SearchAlgorithm"
            )

    def step(self) -> dict[str, float]:
        """One generation: "loss" is the mean over its individuals with a finite loss, "best_loss" the least."""
        self.problem.begin_generation()
        try:
            self.algorithm.step()
        except torch.linalg.LinAlgError as error:
            raise Diverged(f"{type(self.algorithm).__name__} after {self.episodes} episodes: {error}") from error
        losses = torch.cat(self.problem.losses)
        finite = losses[losses.isfinite()]
        if not len(finite) or not bool(self._genome().isfinite().all()):
            raise Diverged(f"no individual with a finite loss, or no finite centre, after {self.episodes} episodes")
        return {
            "loss": float(finite.mean()),
            "best_loss": float(finite.min()),
            "nonfinite": float(len(losses) - len(finite)),
        }

    def _genome(self) -> Tensor:
        """The point (n,) that the search stands at."""
        if self.algorithm.step_count == 0:
            return self.problem.initial
        if "center" in self.algorithm.status:
            return torch.as_tensor(self.algorithm.status["center"]).as_subclass(Tensor)
        population = self.algorithm.population
        return population.values[int(population.argbest())].as_subclass(Tensor)

    def agent(self) -> Agent:
        """The agent at the centre of the search distribution, see the class."""
        return with_parameters(self._agent, self.problem.genomes_to_parameters(self._genome()))

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


def genetic_algorithm(
    problem: Problem, *, popsize: int, mutation_stdev: float = 0.05, elitist: bool = True
) -> GeneticAlgorithm:
    """Mutation only, as in Such et al. 2017 (arXiv:1712.06567, section 3.1), which found crossover no help.

    Each generation every parent has one child with Gaussian noise on all parameters; parents and children are
    evaluated on the same fresh episodes (2 × `popsize` × B of them), and the better half goes on.
    """
    mutation = GaussianMutation(problem, stdev=mutation_stdev)
    return GeneticAlgorithm(problem, operators=[mutation], popsize=popsize, elitist=elitist)


def is_algorithm(target: object) -> bool:
    """Whether `target` is a class of EvoTorch search algorithms."""
    return isinstance(target, type) and issubclass(target, SearchAlgorithm)


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
    if gigabytes > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9:
        raise UsageError(f"{cost}, more memory than this machine has: {advice}")
    warnings.warn(f"{cost} for its covariance matrix; {advice}", stacklevel=3)
