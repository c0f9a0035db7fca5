"""Selection of allele frequencies: worked examples, the flow it follows in expectation, and its limits."""

from itertools import product

import pytest
import torch
from evotorch import Problem

import agents
from evolution import make_searcher
from evolution.searchers.evolutionary.alleles import Alleles, draw, express, select
from plastic_envs import make_task
from plastic_envs.utils.errors import UsageError


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def parabola(genomes):
    return (genomes - 1).square().sum(-1)


def test_one_generation_by_hand_with_an_absent_allele():
    frequencies = double(0.5, 0.2, 0.9)
    alleles = double([1, 1, 1], [1, -1, 1], [-1, -1, 1])  # all carry + of the third gene
    losses = double(1, 2, 3)
    # w = 0.9, 0.8, 0.7; gene 1: w₊ = 0.85, w₋ = 0.7; gene 2: w₊ = 0.9, w₋ = 0.75
    expected = double(0.425 / (0.425 + 0.35), 0.18 / (0.18 + 0.6), 0.9)
    torch.testing.assert_close(select(frequencies, alleles, losses, theta=0.1), expected)


def test_frequencies_of_both_alleles_sum_to_one(generator):
    frequencies = torch.rand(4, 7, generator=generator, dtype=torch.float64)
    alleles = draw(frequencies, 30, generator).transpose(0, 1)  # four populations at once
    losses = torch.rand(4, 30, generator=generator, dtype=torch.float64)
    plus = select(frequencies, alleles, losses, 0.5)
    minus = select(1 - frequencies, -alleles, losses, 0.5)
    torch.testing.assert_close(plus + minus, torch.ones_like(plus))
    alone = torch.stack([select(*one, 0.5) for one in zip(frequencies, alleles, losses, strict=True)])
    torch.testing.assert_close(plus, alone)


def test_a_population_in_proportion_follows_the_flow_exactly():
    x, theta, epsilon = double(0.25, 0.5, 0.75), 0.3, 0.2
    genotypes = torch.tensor(list(product([-1.0, 1.0], repeat=3)), dtype=torch.float64)  # (8, 3)
    probability = torch.where(genotypes > 0, x, 1 - x).prod(-1)
    losses = parabola(express(genotypes, epsilon).unsqueeze(-1))
    copies = (probability * 32).round().long()
    assert ((copies / 32).double() == probability).all()
    population = genotypes.repeat_interleave(copies, 0), losses.repeat_interleave(copies)

    frequencies = x.clone().requires_grad_()
    expected_loss = (torch.where(genotypes > 0, frequencies, 1 - frequencies).prod(-1) * losses).sum()
    (slope,) = torch.autograd.grad(expected_loss, frequencies)
    flow = x - theta * x * (1 - x) * slope / (1 - theta * expected_loss.detach())
    torch.testing.assert_close(select(x, *population, theta), flow)


def test_a_huge_drawn_population_follows_the_flow_nearly(generator):
    x, theta = double(0.25, 0.5, 0.75), 0.3
    alleles = draw(x, 400_000, generator)
    torch.testing.assert_close((alleles > 0).double().mean(0), x, atol=0.004, rtol=0)
    losses = 1 - alleles[:, 0] / 2  # ∂F/∂x is −1 for the first gene, 0 for the others; F = 1.25
    moved = select(x, alleles, losses, theta)
    flow = x + theta * double(0.25 * 0.75, 0, 0) / (1 - theta * 1.25)
    torch.testing.assert_close(moved, flow, atol=1e-3, rtol=0)


@pytest.mark.parametrize("sense", ["min", "max"])
def test_the_algorithm_draws_evaluates_and_selects(sense):
    sign = 1 if sense == "min" else -1
    problem = Problem(sense, lambda x: sign * parabola(x), solution_length=3, vectorized=True, seed=4)
    start = torch.tensor([0.1, 0.2, 0.3])
    algorithm = Alleles(problem, popsize=50, n_genes=10, epsilon=0.05, theta=0.05, center_init=start)
    torch.testing.assert_close(algorithm.status["center"].as_subclass(torch.Tensor), start)
    twin = torch.Generator().manual_seed(4)
    algorithm.step()
    half = torch.full((3, 10), 0.5)
    alleles = draw(half, 50, twin)
    genomes = start + express(alleles, 0.05)
    assert algorithm.population.values.equal(genomes)
    moved = select(half.flatten(), alleles.flatten(1), parabola(genomes), 0.05).view(3, 10)
    torch.testing.assert_close(algorithm.frequencies, moved)
    center = algorithm.status["center"].as_subclass(torch.Tensor)
    torch.testing.assert_close(center, start + express(2 * moved - 1, 0.05))
    algorithm.run(100)
    assert parabola(algorithm.status["center"]) < parabola(start)


def test_the_first_generation_has_the_standard_deviation_asked_for():
    problem = Problem("min", parabola, solution_length=2000, vectorized=True, seed=1)
    algorithm = Alleles(problem, popsize=100, n_genes=25, stdev_init=0.3, theta=0)
    algorithm.step()
    assert algorithm.epsilon == pytest.approx(0.06)
    assert float(algorithm.population.values.std()) == pytest.approx(0.3, rel=0.01)
    assert (algorithm.frequencies == 0.5).all()  # θ = 0: nothing is selected, and nothing drifts


def test_fixed_alleles_stay(generator):
    frequencies = double(0, 1, 0.5)
    alleles = draw(frequencies, 40, generator)
    moved = select(frequencies, alleles, torch.rand(40, generator=generator, dtype=torch.float64), 0.5)
    assert moved[:2].tolist() == [0, 1]
    assert moved[2] != 0.5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("popsize=1", "popsize must be an integer of at least 2, not 1"),
        ("n_genes=0", "n_genes must be an integer of at least 1, not 0"),
        ("theta=-1", "theta must be a finite number of at least 0, not -1"),
        ("epsilon=big", "epsilon must be a finite number of at least 0, not 'big'"),
        ("popsize=1000000,n_genes=1000000", "more memory than this machine has"),
        ("genes=3", "no option 'genes'"),
    ],
)
def test_bad_options_are_one_sentence(options, words):
    task = make_task("CueReward")
    with pytest.raises(UsageError, match=words) as error:
        make_searcher(f"alleles,{options}", task, agents.make_for(task, hidden=4))
    assert "\n" not in str(error.value)


def test_too_strong_a_selection_is_one_sentence():
    task = make_task("CueReward")
    searcher = make_searcher("alleles,theta=100", task, agents.make_for(task, hidden=4))
    with pytest.raises(UsageError, match=r"theta × loss must be below 1 for fitness to be positive, not 100 × 0\."):
        searcher.step()
