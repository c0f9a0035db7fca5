"""Natural selection of allele frequencies, as population genetics models it, as an EvoTorch algorithm."""

import math

import torch
from torch import Generator, Tensor

import evolution.searchers.evolutionary.evotorch_problem  # noqa: F401  before anything of evotorch: it keeps the import quiet
from plastic_envs.utils.checks import check_float, check_int, check_memory
from plastic_envs.utils.errors import UsageError

# isort: split
from evotorch import Problem, SolutionBatch
from evotorch.algorithms import SearchAlgorithm
from evotorch.algorithms.searchalgorithm import SinglePopulationAlgorithmMixin


class Alleles(SearchAlgorithm, SinglePopulationAlgorithmMixin):  # type: ignore[misc]
    """Every parameter is the sum of many small genes, and weak selection moves the frequencies of their alleles.

    A parameter is Y = center_init + ε·Σ ±1 over n genes with the alleles + and −; a population is described by the
    frequency x of each gene's + allele. A generation draws individuals with independent genes, measures their losses
    and selects with the fitness w = 1 − θ·loss, see `select`. With F(x) the expected loss this is in expectation

        x' = x − θ·x(1 − x)·(∂F/∂x) / (1 − θF),      ∂F/∂x ≈ 2ε·L'(Ȳ),

    that is, to first order, gradient descent on z = 2 arcsin √x, and the mean moves by −θ·Var(Y)·L'(Ȳ). No mutation:
    frequencies of 0 and 1 absorb, and Y stays within ε·n of where it began.

    Source: R. Cristian, M. Dabagia, C. Papadimitriou, S. Vempala, "Learning with Plasticity Rules: Generalization and
    Robustness", 2020, appendix C. The paper prints the factor 2 − 2x where x(1 − x) stands here. Its own model gives
    x(1 − x): the selection equation has no leading x before the losses though its normaliser weights them by x and
    1 − x; the expansion slips in a sign, as both terms in it pull the same way; and the mean given the + allele is
    Ȳ + 2ε(1 − x), which the last step writes otherwise.

    Args:
        problem: with one objective; its loss is the objective, negated where it is to be maximised.
        popsize: P, individuals drawn in a generation.
        n_genes: n, genes of each parameter.
        stdev_init: standard deviation of each parameter in the first generation, ε√n.
        epsilon: ε, the effect of one gene, instead of the one that follows from `stdev_init`.
        theta: θ, how much of the fitness the loss decides; θ·loss must stay below 1.
        center_init: expected parameters (N,) of the first generation, where every frequency is 1/2; 0 by default.

    Raises:
        UsageError: an argument is out of range, or the alleles of a population do not fit in memory; from `step`, a
            loss is so large that an individual's fitness would not be positive.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        popsize: int,
        n_genes: int = 32,
        stdev_init: float = 0.05,
        epsilon: float | None = None,
        theta: float = 0.1,
        center_init: Tensor | None = None,
    ) -> None:
        SearchAlgorithm.__init__(self, problem, center=self._center)
        self.popsize = check_int("popsize", popsize, low=2)
        self.n_genes = check_int("n_genes", n_genes, low=1)
        self.theta = check_float("theta", theta, low=0)
        stdev_init = check_float("stdev_init", stdev_init, low=0)
        self.epsilon = stdev_init / math.sqrt(n_genes) if epsilon is None else check_float("epsilon", epsilon, low=0)
        length = problem.solution_length
        gigabytes = 9e-9 * popsize * length * n_genes  # a random number, an allele and its float
        check_memory(
            f"{popsize} individuals of {length:,} × {n_genes} genes take {gigabytes:.2g} GB",
            gigabytes,
            "fewer popsize or n_genes do with less, and searched patterns leave parameters out",
        )
        self.offset = problem.make_zeros(length) if center_init is None else center_init  # (N,)
        self.frequencies = torch.full((length, n_genes), 0.5, dtype=self.offset.dtype, device=self.offset.device)
        self._population = SolutionBatch(problem, popsize=popsize, empty=True)
        SinglePopulationAlgorithmMixin.__init__(self)

    @property
    def population(self) -> SolutionBatch:
        """The individuals of the last generation, before selection."""
        return self._population

    def _center(self) -> Tensor:
        """The expected parameters (N,)."""
        return self.offset + express(self.frequencies * 2 - 1, self.epsilon)

    def _step(self) -> None:
        alleles = draw(self.frequencies, self.popsize, self.problem.generator)  # (P, N, n)
        self._population.set_values(self.offset + express(alleles, self.epsilon))
        self.problem.evaluate(self._population)
        losses = self._population.evals[:, 0].as_subclass(Tensor)  # (P,)
        if self.problem.senses[0] == "max":
            losses = -losses
        self.frequencies = select(
            self.frequencies.flatten(), alleles.flatten(1), losses.to(alleles.dtype), self.theta
        ).view_as(self.frequencies)


def draw(frequencies: Tensor, popsize: int, generator: Generator | None) -> Tensor:
    """Individuals with independent genes: alleles ±1 (P, *genes), each + with its frequency (*genes)."""
    uniform = torch.rand(
        (popsize, *frequencies.shape), generator=generator, dtype=frequencies.dtype, device=frequencies.device
    )
    return (uniform < frequencies).to(frequencies.dtype).mul_(2).sub_(1)


def express(alleles: Tensor, epsilon: float) -> Tensor:
    """Parameters (...) without their offset: ε times the sum of the alleles (..., n) of their genes."""
    return epsilon * alleles.sum(-1)


def select(frequencies: Tensor, alleles: Tensor, losses: Tensor, theta: float) -> Tensor:
    """Frequencies of the + alleles (..., n) in the next generation.

    x' = x·w₊ / (x·w₊ + (1 − x)·w₋) with w± the mean fitness 1 − θ·loss of the carriers of either allele. A gene of
    which the drawn population carries one allele only stays as it is.

    Args:
        frequencies: x (..., n).
        alleles: ±1 (..., P, n) of P individuals.
        losses: (..., P).
        theta: θ.

    Raises:
        UsageError: θ times a loss is 1 or more.
    """
    worst = float(losses.max())
    if not theta * worst < 1:
        raise UsageError(f"theta × loss must be below 1 for fitness to be positive, not {theta:g} × {worst:.4g}")
    fitness = (1 - theta * losses).unsqueeze(-2)  # (..., 1, P)
    popsize, total = alleles.shape[-2], fitness.sum(-1)
    n_plus = (popsize + alleles.sum(-2)) / 2  # (..., n)
    n_minus = popsize - n_plus
    plus = (total + (fitness @ alleles).squeeze(-2)) / 2  # (..., n), fitness of the carriers of + together
    plus_mean, minus_mean = plus / n_plus, (total - plus) / n_minus
    moved = frequencies * plus_mean / (frequencies * plus_mean + (1 - frequencies) * minus_mean)
    return torch.where((n_plus > 0) & (n_minus > 0), moved, frequencies)
