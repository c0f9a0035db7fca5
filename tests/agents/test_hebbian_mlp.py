"""Networks whose weights are random at birth: their equations, their births, their normalisation."""

import pytest
import torch

import agents
from agents.networks.hebbian_mlp import NORMAL, UNIFORM
from tests.helpers.hebbian_mlps import TASK, episodes, generator, make, values_of
from tests.helpers.user_code import Walk


@pytest.mark.parametrize("normalise", [True, False])
def test_the_network_is_its_equations_and_the_last_change_has_no_effect(normalise: bool) -> None:
    agent = make(normalise=normalise)
    episode = episodes(1)
    birth = agent.draw_birth(1, generator())
    weights = [birth[layer][0] for layer in ("1", "2", "3")]
    outputs = []
    with torch.no_grad():
        for time, observation in enumerate(episode.inputs[:, 0]):
            activity = [observation]
            for number, weight in enumerate(weights):
                summed = activity[-1] @ weight
                activity.append(summed if number == 2 else summed.tanh())
            outputs.append(activity[-1])
            if time + 1 == TASK.horizon:
                break  # as in the paper, no change follows the last step
            for number in range(3):
                a, b, c, d, eta = agent.rule.coefficients[number]
                pre, post = activity[number][:, None], activity[number + 1]
                weights[number] = weights[number] + eta * (a * pre * post + b * pre + c * post + d)
                if normalise:
                    weights[number] = weights[number] / weights[number].abs().max()
        lived = agents.rollout(agent, TASK, 1, generator(), episode=episode)
    torch.testing.assert_close(lived.outputs[:, 0], torch.stack(outputs))


def test_the_first_hidden_layer_remembers_if_recurrent() -> None:
    agent = make("none", recurrent=True, output="tanh", birth="coevolve")
    first, second = episodes().inputs[:2]
    state = agent.initial_state((3,))
    w1, w2, w3 = state["weights"].values()
    hidden = torch.zeros(3, 4, dtype=torch.float64)
    for observation in (first, second):
        output, state = agent(observation, state)
        hidden = torch.einsum("bi,bij->bj", torch.cat([observation, hidden], -1), w1).tanh()
    expected = torch.einsum("bi,bij->bj", torch.einsum("bi,bij->bj", hidden, w2).tanh(), w3).tanh()
    torch.testing.assert_close(output, expected)


def test_the_largest_weight_of_a_layer_is_one_after_a_change() -> None:
    agent = make("abcd,sharing=layer")
    names = ["weight.1", "weight.2", "weight.3"]
    result = agents.rollout(agent, TASK, 3, generator(), episode=episodes(), record=names)
    for weights in result.records.values():
        torch.testing.assert_close(weights.abs().amax((-2, -1)), torch.ones(5, 3, dtype=torch.float64))


@pytest.mark.parametrize("grad", [True, False])
def test_weights_that_are_all_zero_are_not_divided(grad: bool) -> None:
    agent = make(birth="coevolve")
    for value in agent.parameters():
        value.data.zero_()
    with torch.set_grad_enabled(grad):
        result = agents.rollout(agent, TASK, 2, generator(), episode=episodes(2))
    assert not result.outputs.any()
    assert not any(weight.any() for weight in result.state["weights"].values())
    if grad:
        result.outputs.sum().backward()
        assert all(value.grad is None or value.grad.isfinite().all() for value in agent.parameters())


def test_weights_are_redrawn_for_each_episode_and_shared_by_a_generation() -> None:
    agent = make("none")
    birth = agent.draw_birth(300, generator())
    assert birth.keys() == {"1", "2", "3"}
    assert birth["1"].shape == (300, 5, 4)
    assert birth["1"].dtype == torch.get_default_dtype()  # the agent has no parameter that says otherwise
    assert not torch.equal(birth["1"][0], birth["1"][1])
    assert birth["1"].abs().max() <= UNIFORM
    assert abs(birth["1"].std() - UNIFORM / 3**0.5) < 1e-3
    assert torch.equal(birth["2"], agent.draw_birth(300, generator())["2"])
    assert not torch.equal(birth["2"], agent.draw_birth(300, generator(1))["2"])
    assert abs(make("none", start="normal").draw_birth(300, generator())["1"].std() - NORMAL) < 5e-4
    state = agent.initial_state((7, 300), birth)
    assert torch.equal(state["weights"]["1"], birth["1"].expand(7, -1, -1, -1))


def test_rollouts_draw_births_from_their_generator_and_newborns_from_the_seed() -> None:
    agent = make()
    births = [agents.rollout(agent, TASK, 2, generator(seed), episode=episodes(2)).outputs for seed in (0, 0, 1)]
    assert torch.equal(births[0], births[1])
    assert not torch.equal(births[0][0], births[2][0])
    observation = episodes(2).inputs[0]
    newborns = [agent(observation)[0] for _ in range(2)]
    assert not torch.equal(newborns[0], newborns[1])
    assert torch.equal(newborns[0], make()(observation)[0])
    assert torch.equal(agent.initial_state((2,))["weights"]["1"], make().initial_state((2,))["weights"]["1"])


def test_weights_at_birth_are_fixed_or_searched() -> None:
    fixed, searched = make("none", birth="fixed"), make("none", birth="coevolve")
    assert not list(fixed.parameters())
    assert [name for name, _ in searched.named_parameters()] == ["slow.1", "slow.2", "slow.3"]
    for agent in (fixed, searched):
        assert not agent.draw_birth(4, generator())
        state = agent.initial_state((4,))
        assert torch.equal(state["weights"]["2"], agent.slow.state_dict()["2"].expand(4, -1, -1))
    assert torch.equal(fixed.slow.state_dict()["1"], searched.slow.state_dict()["1"])
    assert not torch.equal(fixed.slow.state_dict()["1"], make("none", birth="fixed", seed=2).slow.state_dict()["1"])


@pytest.mark.parametrize("batched", [True, False])
def test_closed_loop_population_lives_in_its_own_worlds(batched: bool) -> None:
    task = Walk()
    agent = make(task=task, recurrent=True)
    agent.batched = batched
    population = {n: p + 0.1 * torch.randn(3, *p.shape, dtype=p.dtype) for n, p in values_of(agent).items()}
    with torch.no_grad():
        together = agents.rollout(agent, task, 4, generator(), parameters=population)
        for i in range(3):
            alone = agents.rollout(agent, task, 4, generator(), parameters={n: p[i] for n, p in population.items()})
            torch.testing.assert_close(together.metric[i], alone.metric)


def test_a_state_handed_in_is_not_changed_and_records_stay_as_they_were() -> None:
    agent = make(recurrent=True)
    with torch.no_grad():
        _, state = agent(episodes().inputs[0])
        before = {name: value.clone() for name, value in state["weights"].items()}
        agent(episodes().inputs[1], state)
        assert all(torch.equal(before[name], value) for name, value in state["weights"].items())
        names = agent.recordable()
        lived = agents.rollout(agent, TASK, 3, generator(), episode=episodes(), record=names)
    recorded = agents.rollout(agent, TASK, 3, generator(), episode=episodes(), record=names)
    torch.testing.assert_close(dict(lived.records), dict(recorded.records))
    torch.testing.assert_close(lived.records["raw_output"], lived.outputs)
    torch.testing.assert_close(lived.records["activity.3"], lived.outputs)
    torch.testing.assert_close(lived.records["weight.2"][-1], agent.close_state(lived.state)["weights"]["2"])
    assert agent.close_state(lived.state).keys() == state.keys()
    assert {name: value.shape[2:] for name, value in lived.records.items()}["weight.1"] == (9, 4)
