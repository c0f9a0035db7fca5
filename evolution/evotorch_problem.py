"""Fitness as an EvoTorch problem: a whole population lives the same episodes as one batch."""

import logging
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from agents import Agent, rollout
from agents.normalisation import Moments
from evolution.searcher import Ledger
from evolution.seeding import derive_seed, make_generator
from plastic_envs.errors import MissingExtraError
from plastic_envs.task import Task

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # evotorch 0.6 uses what torch and pandas deprecate
        from evotorch import Problem, SolutionBatch
        from evotorch.tools import set_default_logger_config
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] not in ("evotorch", "ray"):
        raise
    raise MissingExtraError("searching with EvoTorch", "evolution") from None

set_default_logger_config(logger_level=logging.WARNING, override=True)


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
        self.seen: list[Moments | None] = []
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
        self.losses, self.seen = [], []

    def genomes_to_parameters(self, genomes: Tensor) -> dict[str, Tensor]:
        """Cut genomes (..., n) into parameters by name, (..., *shape) each."""
        parts = torch.split(genomes, [shape.numel() for shape in self.shapes.values()], dim=-1)
        return {
            name: part.reshape(part.shape[:-1] + shape)  # a coefficient of a rule may have the shape ()
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
        self.ledger.count(len(genomes) * self.episodes, env_steps=lived.env_steps)
        self.losses.append(losses)
        self.seen.append(lived.seen)
        batch.set_evals(finite_fitness(-losses - lived.penalty))


def finite_fitness(fitness: Tensor) -> Tensor:
    """Fitness (P,) with each value that is not finite made worse than every finite one."""
    finite = fitness[fitness.isfinite()]
    if not len(finite):
        return torch.zeros_like(fitness)
    worst = finite.min() - (finite.max() - finite.min()) - 1
    return torch.where(fitness.isfinite(), fitness, worst.clamp(min=torch.finfo(fitness.dtype).min))
