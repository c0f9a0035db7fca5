"""Fitness as an EvoTorch problem: a whole population lives the same episodes as one batch."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from agents import Agent, Rollout, rollout
from agents.normalisation import RunningMeanStd
from evolution.searchers.base import Ledger
from evolution.seeding import derive_seed, make_generator
from plastic_envs.core.matchmaking import Matchmaking
from plastic_envs.core.task import Task
from plastic_envs.utils.errors import MissingExtraError, UsageError
from plastic_envs.utils.working_directory import Carried

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # evotorch 0.6 uses what torch and pandas deprecate
        import ray
        from evotorch import Problem, SolutionBatch
        from evotorch.core import EvaluationActor
        from evotorch.tools import set_default_logger_config
        from ray.util import ActorPool
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] not in ("evotorch", "ray"):
        raise
    raise MissingExtraError("searching with EvoTorch", "evolution") from None

set_default_logger_config(logger_level=logging.WARNING, override=True)

ALL = slice(None)


class Lived(NamedTuple):
    """What the lifetimes of P individuals came to.

    `losses` is the mean over the episodes of each (P,), `penalty` the rule's (P,), `reward` the mean reward by the age
    at which it was paid (P, T) in a closed loop, and `seen` sums over what was observed, where it is normalised; where
    all observe the same, without P.
    """

    losses: Tensor
    penalty: Tensor
    reward: Tensor | None
    seen: RunningMeanStd | None
    env_steps: int

    @classmethod
    def joined(cls, parts: Sequence["Lived"]) -> "Lived":
        """The same of individuals who lived apart, in order."""
        losses, penalty, reward, seen, env_steps = zip(*parts, strict=True)
        return cls(
            torch.cat(losses),
            torch.cat(penalty),
            None if reward[0] is None else torch.cat(reward),
            seen[0]
            if seen[0] is None or seen[0].number.dim() == 0
            else RunningMeanStd(*map(torch.cat, zip(*seen, strict=True))),
            sum(env_steps),
        )


class EpisodesProblem(Problem):  # type: ignore[misc]
    """Fitness of meta-parameters: minus the mean loss over episodes, the same ones for all of a generation.

    With `spread_over` actors the individuals are dealt to Ray's processes; fitness comes out the same to the last bit,
    as each individual is worked on apart from the others.

    Args:
        task: what the individuals live through.
        agent: the network; its parameters that are not in `names` are everyone's.
        names: the parameters that make up a genome, in this order.
        episodes: B, episodes each individual lives through in a generation.
        spread: standard deviation of a population that an algorithm draws for itself, around the agent's parameters.
        seed: root seed of the episodes and of the search.
        rows: which of the B episodes count for fitness.
    """

    _actors: list[Any] | None

    def __init__(
        self,
        task: Task,
        agent: Agent,
        names: Sequence[str],
        *,
        episodes: int,
        spread: float,
        seed: int,
        rows: slice = ALL,
    ) -> None:
        parameters = dict(agent.named_parameters())
        self.task = task
        self.agent = agent
        self.shapes = {name: parameters[name].shape for name in names}
        self.initial = torch.cat([parameters[name].detach().flatten() for name in names])  # (n,)
        self.episodes = episodes
        self.spread = spread
        self.rows = rows
        self.ledger = Ledger()
        self.task_generator = make_generator(seed, "task")
        self.generation_seed = 0
        self.lived: list[tuple[Lived, Tensor]] = []
        """What became of the individuals of this generation, and their genomes (P, n)."""
        self.others: Mapping[str, Tensor] = {}
        """Parameters by name that are not the agent's own at present; those of a genome win."""
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
        self.lived = []

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
    def live(self, genomes: Tensor, generation_seed: int) -> Lived:
        """Let individuals (P, n) live through the episodes of a generation."""
        generator = torch.Generator().manual_seed(generation_seed)
        lived = self._rollout(genomes, generator)
        reward = None
        if lived.trajectory is not None:
            paid = lived.trajectory.reward[..., self.rows].mean(-1)  # (P, t, B) → (P, t)
            reward = pad(paid, (0, self.task.horizon - paid.shape[-1]))  # (P, T): t ends with the last who lived
        return Lived(
            lived.loss[..., self.rows].mean(-1),  # (P, B) → (P,)
            lived.penalty.expand(len(genomes)),
            reward,
            lived.seen,
            lived.env_steps,
        )

    def _rollout(self, genomes: Tensor, generator: torch.Generator) -> Rollout:
        return rollout(self.agent, self.task, self.episodes, generator, parameters=self._parameters(genomes))

    def _parameters(self, genomes: Tensor) -> dict[str, Tensor]:
        return {**self.others, **self.genomes_to_parameters(genomes)}

    def _evaluate_all(self, batch: SolutionBatch) -> None:
        genomes = batch.values.as_subclass(Tensor)  # (P, n)
        lived = self._live_apart(genomes) if self._actors else self.live(genomes, self.generation_seed)
        self.ledger.count(len(genomes) * self.episodes, env_steps=lived.env_steps)
        self.lived.append((lived, genomes))
        batch.set_evals(finite_fitness(-lived.losses - lived.penalty))

    def spread_over(self, actors: int, share: float = 1.0) -> None:
        """Deal the individuals of every generation to so many actors of a Ray that runs, for a share of a CPU each."""
        self._num_actors = actors
        # an actor that dies is made again, and what it was at is done again: to the same end, as all is told by `live`
        self._actor_config = {"max_restarts": -1, "max_task_retries": -1, "num_cpus": share}

    def _parallelize(self) -> None:
        """Make the actors once, each from this problem as it is.

        EvoTorch would draw their seeds from the search's generator, which shall go on as if there were no actors; and
        an actor can be made again only while there is a reference to what it was made of.
        """
        if not self._actors and self.is_main and self._num_actors:
            self._actor_source = ray.put(Carried(ray.cloudpickle.dumps, self))
            make = EvaluationActor.options(**self._actor_config)
            actors = [make.remote(self._actor_source, i, (i,) * 4, {}) for i in range(self._num_actors)]
            self._actors, self._actor_pool = actors, ActorPool(actors)

    def _live_apart(self, genomes: Tensor) -> Lived:
        """The same as `live`, by the actors."""
        normaliser = self.agent.normaliser
        seen = None if normaliser is None else normaliser.state_dict()
        parts = [part for part in genomes.tensor_split(self._num_actors) if len(part)]
        jobs = [[part, self.generation_seed, self.others, seen] for part in parts]
        lived = self._actor_pool.map(lambda actor, job: actor.call.remote("live_as_told", job, {}), jobs)
        return Lived.joined(list(lived))

    def seed(self, seed: int) -> None:
        """What EvoTorch asks of a problem that it makes an actor of; an actor draws nothing but what it is told."""
        self.manual_seed(seed)

    def live_as_told(
        self,
        genomes: Tensor,
        generation_seed: int,
        others: Mapping[str, Tensor],
        seen: Mapping[str, Tensor] | None,
    ) -> Lived:
        """What an actor does: `live`, with what has changed since it was made."""
        torch.set_num_threads(1)
        self.others = others
        if seen is not None and self.agent.normaliser is not None:
            self.agent.normaliser.load_state_dict(seen)
        return self.live(genomes, generation_seed)


class MixedProblem(EpisodesProblem):
    """Fitness of individuals that meet others of their population: each sits in B worlds, with whom a lot decides."""

    def __init__(self, task: Task, agent: Agent, names: Sequence[str], **arguments: Any) -> None:
        if task.agents_per_world == 1:
            raise UsageError("worlds=mixed is for worlds of many agents: this task's agents live alone")
        if not agent.takes_population(names):
            raise UsageError("worlds=mixed needs a network and a rule that take a whole population at once")
        super().__init__(task, agent, names, **arguments)

    def spread_over(self, actors: int, share: float = 1.0) -> None:
        """Not possible.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"actors={actors}: individuals of worlds=mixed meet each other, in one process")

    def _rollout(self, genomes: Tensor, generator: torch.Generator) -> Rollout:
        worlds = Matchmaking(self.task, len(genomes))
        return rollout(self.agent, worlds, self.episodes, generator, parameters=self._parameters(genomes))


def finite_fitness(fitness: Tensor) -> Tensor:
    """Fitness (P,) with each value that is not finite made worse than every finite one."""
    finite = fitness[fitness.isfinite()]
    if not len(finite):
        return torch.zeros_like(fitness)
    worst = finite.min() - (finite.max() - finite.min()) - 1
    return torch.where(fitness.isfinite(), fitness, worst.clamp(min=torch.finfo(fitness.dtype).min))
