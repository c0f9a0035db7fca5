"""Miconi's networks and rules: one mathematics in every form, on every network with fast weights."""

from typing import Any

import pytest
import torch
from torch import Tensor

import agents
from agents.networks.fast_network import FastWeightNetwork
from agents.rules import Bound
from plastic_envs.core.supervised import SupervisedTask
from plastic_envs.core.task import Episode, layout
from plastic_envs.utils.errors import UsageError

RULES = ["decaying-hebb", "oja", "additive-hebb", "additive-hebb,bound=soft", "additive-hebb,bound=none", "hebbian"]
NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("plastic-rnn", {"hidden": 6, "scale": 0.4}),
    ("plastic-rnn", {"input": "add", "scale": 0.4, "hidden": 7}),
    ("plastic-rnn", {"input": "clamp", "plasticity": "shared", "scale": 0.4}),
    ("plastic-head", {"scale": 0.4, "label_gain": 3.0}),
    ("self-modulated", {"hidden": 5}),
    ("self-modulated", {"hidden": 5, "cell": "lstm", "layer_norm": True}),
]
MODULATIONS: list[dict[str, Any]] = [
    {},
    {"modulation": "sigmoid"},
    {"modulation": "tanh", "decay": 0.0},
    {"modulation": "linear", "fan_out": True, "decay": 0.0},
    {"modulation": "sigmoid", "retroactive": True},
    {"modulation": "tanh", "retroactive": True, "fan_out": True, "decay": 0.0},
]


class Echo(SupervisedTask):
    """Random numbers, some of them 0, that are asked back."""

    def __init__(self) -> None:
        self.horizon, self.output_size = 6, 2
        self.slices = layout({"value": 3, "label": 2})

    def sample(self, batch_size: int, generator: torch.Generator) -> Episode:
        inputs = torch.randn(self.horizon, batch_size, 5, generator=generator)
        inputs = inputs * (torch.rand(inputs.shape, generator=generator) < 0.7)
        asked = torch.ones(self.horizon, batch_size, dtype=torch.bool)
        return Episode(inputs, inputs[..., 3:], asked, asked, {})


TASK = Echo()


def episodes() -> Episode:
    return TASK.sample(3, generator()).map(lambda x: x.double() if x.is_floating_point() else x)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def make(network: str, rule: str, options: dict[str, Any], eta: float = 0.3) -> FastWeightNetwork:
    agent = agents.make_for(TASK, network=network, rule=rule, seed=1, **options).double()
    assert isinstance(agent, FastWeightNetwork)
    own = agent.rule.learning_rate()
    if own is not None:
        own.data.fill_(eta)
    return agent


def allowed(rule: str, network: str, options: dict[str, Any]) -> bool:
    signed = options.get("modulation") in ("tanh", "linear")
    return not (rule == "decaying-hebb" and signed)


CASES = [
    (network, rule, {**options, **modulation})
    for network, options in NETWORKS
    for rule in RULES
    for modulation in MODULATIONS
    if allowed(rule, network, modulation)
]


@pytest.mark.parametrize(("network", "rule", "options"), CASES, ids=str)
def test_rollout_population_and_vmap_equal_single_steps(network: str, rule: str, options: dict[str, Any]) -> None:
    agent = make(network, rule, options)
    episode = episodes()
    state, outputs = None, []
    for observation in episode.inputs:
        output, state = agent(observation, state)
        outputs.append(output)
    alone = torch.stack(outputs)
    result = agents.rollout(agent, TASK, 3, generator(), episode=episode)
    torch.testing.assert_close(result.outputs, alone, rtol=1e-9, atol=1e-11)
    final = agent.close_state(result.state)
    torch.testing.assert_close(final["fast"], state["fast"], rtol=1e-9, atol=1e-11)

    values = {name: value.detach() for name, value in agent.named_parameters()}
    population = {name: torch.stack([value, value * 0.9]) for name, value in values.items()}
    with torch.no_grad():
        together = agents.rollout(agent, TASK, 3, generator(), parameters=population, episode=episode)
        agent.batched = False
        mapped = agents.rollout(agent, TASK, 3, generator(), parameters=population, episode=episode)
    torch.testing.assert_close(together.outputs[0], alone, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(together.outputs, mapped.outputs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("network", "options"), NETWORKS, ids=str)
@pytest.mark.parametrize("modulation", MODULATIONS, ids=str)
def test_gradients_reach_every_parameter(network: str, options: dict[str, Any], modulation: dict[str, Any]) -> None:
    agent = make(network, "additive-hebb", {**options, **modulation})
    agents.rollout(agent, TASK, 3, generator(), episode=episodes()).loss.mean().backward()
    names = [name for name, value in agent.named_parameters() if value.grad is None or not value.grad.any()]
    assert not names


def test_a_decaying_trace_is_a_running_average() -> None:
    agent = make("plastic-rnn", "decaying-hebb", {"input": "clamp"})
    with torch.no_grad():
        shown = torch.rand(4, 1, 5, dtype=torch.float64) + 0.1  # clamps all units
        state = None
        expected = torch.zeros(5, 5, dtype=torch.float64)
        before = torch.zeros(5, dtype=torch.float64)
        for observation in shown:
            _, state = agent(observation, state)
            expected = 0.7 * expected + 0.3 * torch.outer(before, observation[0])
            before = observation[0]
    torch.testing.assert_close(state["fast"]["recurrent"][0], expected)


def test_oja_converges_to_the_pre_activity_over_the_post() -> None:
    agent = make("plastic-rnn", "oja", {"input": "clamp"})
    with torch.no_grad():
        shown = torch.tensor([[[0.5, -1.0, 0.8, 0.3, 1.0]]], dtype=torch.float64)
        state = None
        for _ in range(1200):
            _, state = agent(shown[0], state)
    pattern = shown[0, 0]
    torch.testing.assert_close(state["fast"]["recurrent"][0], pattern[:, None] / pattern)


def test_soft_bounds_never_pass_one_and_hard_ones_cut_off() -> None:
    fast = torch.tensor([[0.5, -0.5], [0.9, 0.0]])
    change = torch.tensor([[0.4, -0.4], [10.0, -0.3]])
    torch.testing.assert_close(Bound("hard", 1.0).add(fast, change), torch.tensor([[0.9, -0.9], [1.0, -0.3]]))
    torch.testing.assert_close(Bound("soft", 1.0).add(fast, change), torch.tensor([[0.7, -0.7], [1.0, -0.3]]))


def test_a_modulator_takes_the_place_of_the_learning_rate() -> None:
    assert make("plastic-rnn", "additive-hebb", {"modulation": "tanh"}).rule.learning_rate() is None
    assert make("plastic-rnn", "additive-hebb", {}).rule.learning_rate() is not None
    retroactive = make("plastic-rnn", "additive-hebb", {"modulation": "tanh", "retroactive": True})
    assert retroactive.rule.learning_rate() is not None  # that of the eligibility trace


def test_the_trace_of_a_step_is_gated_by_the_next_modulator_only() -> None:
    agent = make("plastic-rnn", "additive-hebb", {"input": "clamp", "modulation": "tanh", "retroactive": True})
    record: dict[str, Tensor] = {}
    with torch.no_grad():
        first, second, third = torch.rand(3, 1, 5, dtype=torch.float64) + 0.1
        _, state = agent(first)
        _, state = agent(second, state)
        assert not state["fast"]["recurrent"].any()  # nothing was eligible before
        torch.testing.assert_close(state["eligibility"]["recurrent"][0], 0.3 * torch.outer(first[0], second[0]))
        _, after = agent(third, state, record)
    expected = record["modulator"][:, None, None] * state["eligibility"]["recurrent"]
    torch.testing.assert_close(after["fast"]["recurrent"], expected)


@pytest.mark.parametrize("network", ["plastic-rnn", "plastic-head", "self-modulated"])
def test_an_agent_is_saved_and_loaded(network: str, tmp_path: Any) -> None:
    agent = agents.make_for(
        TASK, network=network, rule="additive-hebb,bound=soft", modulation="tanh", fan_out=True, decay=0.0
    )
    agents.save(agent, tmp_path)
    again = agents.load(tmp_path)
    observation = torch.rand(2, 5)
    torch.testing.assert_close(again(observation)[0], agent(observation)[0], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("network", "options", "sentence"),
    [
        ("plastic-rnn", {"rule": "decaying-hebb", "modulation": "tanh"}, "can be negative"),
        ("self-modulated", {"rule": "hebbian", "modulation": "linear"}, "can be negative"),
        ("plastic-rnn", {"fan_out": True}, "fan_out=true needs a modulation"),
        ("plastic-rnn", {"retroactive": True}, "retroactive=true needs a modulation"),
        ("plastic-rnn", {"input": "add", "hidden": 4}, "an integer of at least 5"),
        ("plastic-rnn", {"input": "sideways"}, "input must be one of linear, add, clamp"),
        ("self-modulated", {"rule": "oja", "clip": 0.1}, "clip is for rules that neither read nor bound"),
        ("plastic-rnn", {"rule": "additive-hebb,bound=soft,limit=2"}, "limit must be a number from 0 to 1"),
        ("plastic-rnn", {"rule": "gradient"}, "needs error, which PlasticRNN lacks"),
        ("plastic-rnn", {"rule": "additive-hebb,own_rate=false"}, "own_rate"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(network: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        agents.make_for(TASK, network=network, **options)


def test_weights_that_fade_by_their_learning_rate_take_none_above_one() -> None:
    with pytest.raises(UsageError, match=r"eta must be a number from 0 to 1\.0, not 2"):
        agents.make(3, 2, rule="decaying-hebb,eta=2", network="plastic-rnn")
    agents.make(3, 2, rule="additive-hebb,eta=2", network="plastic-rnn")


def test_a_network_without_hidden_layer_cannot_be_wider() -> None:
    with pytest.raises(UsageError, match="widens one hidden layer: hidden=None of PlasticHead is not one number"):
        agents.make(9, 3, rule="none-wide", network="plastic-head")
