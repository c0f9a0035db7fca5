"""Rollouts take what EvoTorch hands a fitness function: read-only tensors, by name or as one genome."""

import pytest
import torch
from evotorch.tools import as_read_only_tensor
from torch.nn.utils import parameters_to_vector

import agents
import plastic_envs
from plastic_envs.utils.errors import UsageError

TASK = plastic_envs.make_task("CueReward", n_show=2, n_query=2)


def lived(agent, parameters):
    return agents.rollout(agent, TASK, 3, torch.Generator().manual_seed(0), parameters=parameters)


@pytest.mark.parametrize("rule", ["hebbian", "gradient", "abcd", "none"])
def test_genomes_and_names_read_only_or_not_are_the_same(rule):
    agent = agents.make_for(TASK, rule=rule, hidden=4)
    start = parameters_to_vector(agent.parameters()).detach()
    genomes = start + 0.1 * torch.randn(5, len(start), generator=torch.Generator().manual_seed(1))
    sizes = [value.numel() for value in agent.parameters()]
    named = {
        name: part.reshape(5, *value.shape)
        for (name, value), part in zip(agent.named_parameters(), genomes.split(sizes, -1), strict=True)
    }
    expected = lived(agent, named).loss
    assert expected.shape == (5, 3)
    for given in (
        genomes,
        as_read_only_tensor(genomes),
        {name: as_read_only_tensor(value) for name, value in named.items()},
    ):
        found = lived(agent, given)
        assert type(found.loss) is torch.Tensor
        assert torch.equal(found.loss, expected)
    torch.testing.assert_close(lived(agent, as_read_only_tensor(genomes[2])).loss, expected[2])


def test_gradients_flow_into_a_genome():
    agent = agents.make_for(TASK, hidden=4)
    genome = parameters_to_vector(agent.parameters()).detach().requires_grad_()
    lived(agent, genome).loss.mean().backward()
    assert genome.grad is not None
    assert genome.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (torch.zeros(7), r"must have the shape \((\d+),\), or \(P, \1\) for a population, not \(7,\)"),
        (torch.zeros(2, 3, 7), "must have the shape"),
        ({"encode.weight": 3}, "parameter 'encode.weight' must be a torch.Tensor, not a int"),
        ({"encode.wieght": torch.zeros(2)}, "no parameter 'encode.wieght': did you mean 'encode.weight'"),
    ],
)
def test_what_is_no_genome_is_refused(parameters, message):
    with pytest.raises(UsageError, match=message):
        lived(agents.make_for(TASK, hidden=4), parameters)
