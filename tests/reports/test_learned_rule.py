"""`plastic-envs rule` tells what was learned about plasticity on every kind of network."""

import pytest
import torch

import agents
import plastic_envs
from evolution.cli import main
from evolution.reports.learned_rule import describe


def made(rule, **options):
    return agents.make(6, 2, rule=rule, **options)


def test_a_hebbian_agent_is_summarised_layer_by_layer(tmp_path, capsys):
    agent = agents.make_for(plastic_envs.make_task("CueReward"), rule="hebbian,rate=0.2", hidden=4)
    with torch.no_grad():
        agent.cell.plasticity.copy_(torch.tensor([1.0, -3.0]).repeat(agent.cell.plasticity.numel() // 2).view(-1, 4))
        agent.cell.weight.fill_(-0.5)
    agents.save(agent, tmp_path)
    assert main(["rule", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("hebbian: each weight in use is W + Λ·F, and F ← (1 − 0.1·M)·F + 0.2·M·change; M = 2σ(m)")
    rows = {line.split("|")[1].strip(): [part.strip() for part in line.split("|")[2:-1]]
            for line in printed.splitlines() if line.startswith("| ")}  # fmt: skip
    assert list(rows)[2:] == ["encode", "cell", "decode"]  # below the heading
    assert rows["cell"] == ["40", "-1", "2", "50%", "50%", "2", "0.5"]


@pytest.mark.parametrize(
    ("agent", "told"),
    [
        (lambda: made("none"), "none: no plasticity, so the weights stay as they were found"),
        (lambda: made("gradient", hidden=3), "weights of the outputs in the network's own loss: 1, 1"),
        (lambda: made("oja", network="plastic-rnn,plasticity=shared"), "10,000 (shared)"),
        (lambda: made("decaying-hebb,eta=0.25", network="plastic-mlp"), "F ← (1 − η)·F + η·change; η = 0.25"),
        (
            lambda: made("additive-hebb,eta=0.1", network="plastic-rnn,modulation=tanh,retroactive=true"),
            "F ← F + M·E, with the trace E ← (1 − η)·E + η·change; η = 0.1; M = tanh(m)",
        ),
        (lambda: made("additive-hebb", network="plastic-head"), "| head "),
        (lambda: made("pool"), "ΔW_l = −0.001 · e_l y_{l−1}ᵀ"),
        (lambda: made("firing-table", network="kwta,hidden=20"), "output: from units to classes"),
        (lambda: agents.Species([made("hebbian", hidden=2), made("none", hidden=2)]), "species 1\nnone: no plasticity"),
    ],
)
def test_every_kind_of_network(agent, told):
    assert told in describe(agent())


def test_many_coefficients_are_summed_up():
    rule = agents.Rule()
    rule.few, rule.many = (torch.nn.Parameter(torch.full(shape, 0.1)) for shape in ((2,), (5, 8)))
    assert rule.describe() == "few = 0.1, 0.1\nmany = 5 × 8 numbers, mean 0.1, standard deviation 0"
