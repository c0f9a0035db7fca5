"""Agents: one mathematics in every form, state that is explicit, files that are safe."""

import json
import math
import re
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import agents
from agents.fast_weights import history_nodes as fast_history_nodes
from agents.fast_weights import history_products as fast_history_products
from agents.fast_weights.history import FastHistory
from agents.fast_weights.history_products import NARROW, Start, multiply_pairs, multiply_pairs_backward
from agents.networks.self_modulated import SelfModulatedNetwork
from agents.rules import RULES, Rule, Signal, Signals
from plastic_envs.tasks import make_task
from plastic_envs.utils.errors import UsageError
from plastic_envs.utils.registry import tell_renamed
from tests.helpers.user_code import Walk

OPTIONS: list[dict[str, Any]] = [
    {},
    {"layer_norm": True},
    {"modulation": "none", "spare_outputs": 0},
    {"plasticity": "none"},
    {"plasticity": "neg_uniform", "max_norm": 0.05},
    {"clip": 0.02},
    {"inner_loss_mean": "batch"},
    {"decay": 0.0},
]
RULES_HERE = [name for name in RULES if RULES.load_class(name, Rule).needs <= SelfModulatedNetwork.offers]
TASK = make_task("CueReward", n_show=14, n_query=16)  # long enough for several chunks


class Oja(Rule):
    """A user's own rule that reads the matrix and has a coefficient."""

    needs: ClassVar[frozenset[Signal]] = frozenset({"pre", "post", "fast"})

    def __init__(self, strength: float = 0.5) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.tensor(float(strength)))

    def change(self, signals: Signals) -> Tensor:
        post = signals.post.unsqueeze(-2)
        return self.strength * post * (signals.pre.unsqueeze(-1) - signals.fast * post)


def make(rule: str = "hebbian", cell: str = "rnn", **options: Any) -> SelfModulatedNetwork:
    agent = agents.make_for(TASK, rule=rule, cell=cell, hidden=7, seed=3, **options).double()
    assert isinstance(agent, SelfModulatedNetwork)
    return agent


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def episode(size: int = 4) -> Any:
    return TASK.sample(size, generator()).map(lambda x: x.double() if x.is_floating_point() else x)


def step_by_step(agent: agents.Agent, inputs: Tensor, state: Any = None) -> tuple[Tensor, Any]:
    outputs = []
    for observation in inputs:
        output, state = agent(observation, state)
        outputs.append(output)
    return torch.stack(outputs), state


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("cell", list(agents.CELLS))
@pytest.mark.parametrize("rule", ["hebbian", "gradient"])
def test_rollout_equals_single_steps_with_dense_weights(rule: str, cell: str, options: dict[str, Any]) -> None:
    agent, lived = make(rule, cell, **options), episode()
    parameters = dict(agent.named_parameters())
    outputs, state = step_by_step(agent, lived.inputs)
    expected = torch.autograd.grad(TASK.loss(outputs, lived).mean(), list(parameters.values()), allow_unused=True)

    result = agents.rollout(agent, TASK, 4, generator(), episode=lived)
    assert isinstance(result.state["fast"], FastHistory) == ("clip" not in options)
    found = torch.autograd.grad(result.loss.mean(), list(parameters.values()), allow_unused=True)
    torch.testing.assert_close(result.outputs, outputs, rtol=1e-9, atol=1e-11)
    for name, mine, theirs in zip(parameters, found, expected, strict=True):
        assert (mine is None) == (theirs is None), name
        if mine is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-11, msg=name)
    closed = agent.close_state(result.state)
    for name, matrix in state["fast"].items():
        torch.testing.assert_close(closed["fast"][name], matrix, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("block", [fast_history_nodes.BLOCK, 340])  # 340: three episodes of the cell's matrix, then one
@pytest.mark.parametrize("chunk", [1, 3, 8])
def test_final_matrices_of_a_started_history_carry_gradients(
    chunk: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_history_nodes, "BLOCK", block)
    agent, lived = make("gradient"), episode()
    begin = {name: torch.randn_like(x).mul_(0.1) for name, x in agent.initial_state((4,))["fast"].items()}

    def total(remember: bool) -> list[Tensor]:
        start = {name: x.clone().requires_grad_() for name, x in begin.items()}
        state = agent.initial_state((4,)) | {"fast": start}
        if remember:
            state["fast"] = FastHistory(agent.layers(), start, (4,), chunk)
        outputs, state = step_by_step(agent, lived.inputs[:11], state)
        final = agent.close_state(state)["fast"]
        loss = outputs.square().sum() + sum(x.sin().sum() for x in final.values())
        found = torch.autograd.grad(loss, [*start.values(), *agent.parameters()], retain_graph=True)
        again = torch.autograd.grad(loss, [*start.values(), *agent.parameters()])
        assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True))  # nothing was overwritten
        return list(found)

    for mine, theirs in zip(total(True), total(False), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("lead", [(), (2,)], ids=["one", "population"])
@pytest.mark.parametrize("large", [fast_history_products.LARGE, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_with_the_first_matrix_of_a_chunk(
    dtype: torch.dtype, large: int, lead: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_history_products, "LARGE", large)
    matrix = torch.randn(*lead, 3, 9, 5, generator=generator(), dtype=dtype)
    start = Start(matrix.mT.contiguous().mT)  # however it lies in memory
    for back, used in ((False, matrix), (True, matrix.mT)):
        for size in (used.shape[-2], 4):  # all of its rows, or the first
            query = torch.randn(*lead, 3, size, generator=generator(1), dtype=dtype)
            expected = (query.unsqueeze(-2) @ used[..., :size, :]).squeeze(-2)
            torch.testing.assert_close(start.multiply(query, back, expected.shape[-1]), expected)
            torch.testing.assert_close(start.multiply(query, back, 2), expected[..., :2])


@pytest.mark.parametrize("units", [3, NARROW, 20])
@pytest.mark.parametrize("inputs", [2, 19])
@pytest.mark.parametrize("lead", [(), (2,)], ids=["one", "population"])
def test_products_with_remembered_pairs_and_their_gradients(lead: tuple[int, ...], inputs: int, units: int) -> None:
    source = generator()

    def draw(*shape: int) -> Tensor:
        return torch.randn(*lead, *shape, generator=source, dtype=torch.float64)

    query, own = draw(5, inputs).requires_grad_(), draw(4, 5, inputs).requires_grad_()
    matrix, gradient = draw(inputs, units).requires_grad_(), draw(4, 5, units)
    expected = torch.einsum("...bi,...tbi,...ij->...tbj", query, own, matrix)
    torch.testing.assert_close(multiply_pairs(query, own, matrix), expected)
    to_query, to_own, to_matrix = torch.autograd.grad(expected, [query, own, matrix], gradient)
    with torch.no_grad():
        found_own = torch.zeros_like(own)
        found = multiply_pairs_backward(gradient, query, own, matrix, found_own)
    torch.testing.assert_close((*found, found_own), (to_query, to_matrix, to_own))


@pytest.mark.parametrize("cell", list(agents.CELLS))
@pytest.mark.parametrize("rule", [*RULES_HERE, "tests.agents.test_agents:Oja"])
def test_population_equals_each_individual_alone_and_vmap(rule: str, cell: str) -> None:
    agent, lived = make(rule, cell), episode()
    population = {n: p.detach() + 0.1 * torch.randn(3, *p.shape, dtype=p.dtype) for n, p in agent.named_parameters()}
    with torch.no_grad():
        together = agents.rollout(agent, TASK, 4, generator(), parameters=population, episode=lived)
        agent.batched = False
        mapped = agents.rollout(agent, TASK, 4, generator(), parameters=population, episode=lived)
        for i in range(3):
            alone = agents.rollout(
                agent, TASK, 4, generator(), parameters={n: p[i] for n, p in population.items()}, episode=lived
            )
            torch.testing.assert_close(together.outputs[i], alone.outputs, rtol=1e-9, atol=1e-11)
            torch.testing.assert_close(mapped.loss[i], alone.loss, rtol=1e-9, atol=1e-11)
    assert together.loss.shape == (3, 4)


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_units_are_chosen_for_a_number_of_parameters(cell: str) -> None:
    def count(agent: agents.Agent) -> int:
        return sum(value.numel() for value in agent.parameters())

    wanted = count(agents.make_for(TASK, rule="hebbian", hidden=24))
    plain = agents.make_for(TASK, rule=f"none,cell={cell},parameters={wanted}", hidden=24)
    units = plain.config["hidden"]
    one_more = [count(agents.make_for(TASK, rule="none", cell=cell, hidden=units + step)) for step in (-1, 1)]
    assert all(abs(count(plain) - wanted) <= abs(other - wanted) for other in one_more)
    assert "parameters" not in plain.config
    with pytest.raises(UsageError, match="leave out hidden"):
        agents.make_for(TASK, rule="none", hidden=3, parameters=wanted)
    with pytest.raises(UsageError, match="too few: 1 hidden unit makes"):
        agents.make_for(TASK, rule="none", parameters=3)
    with pytest.raises(UsageError, match="leave out hidden"):
        agents.make_for(TASK, rule=f"none,hidden=3,parameters={wanted}")
    with pytest.raises(UsageError, match="unknown option 'units'"):
        agents.make_for(TASK, rule="none,units=3,parameters=999")


def test_units_are_chosen_from_the_fewest_that_a_network_can_have() -> None:
    added = agents.make(50, 50, rule="none,parameters=5001", network="plastic-rnn,input=add")
    assert added.config["hidden"] == 71  # 71² = 5041; 50 at least
    with pytest.raises(UsageError, match="parameters=100 is too few: 50 hidden units make 2500"):
        agents.make(50, 50, rule="none,parameters=100", network="plastic-rnn,input=add")


def test_gradient_rule_is_the_derivative_of_the_self_generated_loss() -> None:
    agent = make("gradient", "lstm", layer_norm=True, decay=0.0, max_norm=1e9, modulation="none", plasticity="none")
    observation = torch.randn(4, TASK.observation_size, dtype=torch.float64)
    state = agent.initial_state((4,))
    state |= {key: torch.randn_like(state[key]) for key in ("hidden", "memory")}
    state["fast"] = {name: torch.randn_like(x).mul_(0.1).requires_grad_() for name, x in state["fast"].items()}
    record: dict[str, Tensor] = {}
    _, after = agent(observation, state, record)
    assert agent.loss_weight is not None
    inner = (record["raw_output"] * agent.loss_weight).square().mean(-1).sum()
    for name, by_autograd in zip(state["fast"], torch.autograd.grad(inner, list(state["fast"].values())), strict=True):
        change = (after["fast"][name] - state["fast"][name]) / agent.options.rate
        torch.testing.assert_close(change, by_autograd, rtol=1e-8, atol=1e-10)


def test_norm_of_the_change_is_limited() -> None:
    agent = make(max_norm=0.01, decay=0.0, modulation="none", plasticity="none")
    state = agent.initial_state((4,))
    _, after = agent(torch.randn(4, TASK.observation_size, dtype=torch.float64), state)
    square = sum(x.square().sum((1, 2)) for x in after["fast"].values())
    torch.testing.assert_close(square.sqrt(), torch.full((4,), 0.01 * agent.options.rate, dtype=torch.float64))


@pytest.mark.parametrize("rule", ["hebbian", "gradient"])
def test_silent_network_has_finite_gradients(rule: str) -> None:
    agent, lived = make(rule), episode()
    with torch.no_grad():
        for layer in agent.layers().values():
            layer.weight.zero_()
    agents.rollout(agent, TASK, 4, generator(), episode=lived).loss.mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in agent.parameters())


@pytest.mark.parametrize("rule", RULES_HERE)
def test_one_agent_lives_as_a_batch_of_one_and_newborn_as_none(rule: str) -> None:
    agent, inputs = make(rule), episode(1).inputs[:5]
    outputs, state = step_by_step(agent, inputs)
    single, single_state = step_by_step(agent, inputs[:, 0])
    torch.testing.assert_close(single, outputs[:, 0])
    torch.testing.assert_close(single_state["hidden"], state["hidden"][0])
    explicit, _ = step_by_step(agent, inputs, agent.initial_state((1,)))
    assert torch.equal(explicit, outputs)


def test_a_state_handed_in_is_not_changed() -> None:
    agent, inputs = make(), episode().inputs
    _, state = step_by_step(agent, inputs[:3])
    before = {name: x.clone() for name, x in state["fast"].items()}
    agent(inputs[3], state)
    assert all(torch.equal(before[name], x) for name, x in state["fast"].items())


def test_what_is_recorded_is_what_happened() -> None:
    agent, lived = make(cell="lstm"), episode()
    names = agent.recordable()
    result = agents.rollout(agent, TASK, 4, generator(), episode=lived, record=names)
    state = None
    for t, observation in enumerate(lived.inputs):
        seen: dict[str, Tensor] = {}
        _, state = agent(observation, state, seen)
        assert set(seen) == set(names)
        for name in names:
            torch.testing.assert_close(result.records[name][t], seen[name].detach(), rtol=1e-8, atol=1e-11)


def test_the_modulator_sets_rate_and_decay() -> None:
    agent, lived = make(rate=0.2, decay=0.05), episode()
    result = agents.rollout(agent, TASK, 4, generator(), episode=lived, record=["rate", "decay", "raw_output"])
    factor = 2 * result.records["raw_output"][..., -1].sigmoid()
    torch.testing.assert_close(result.records["rate"], 0.2 * factor)
    torch.testing.assert_close(result.records["decay"], 0.05 * factor)


def test_a_rollout_is_freed_without_the_garbage_collector() -> None:
    import gc
    import weakref

    agent, lived = make("gradient"), episode()
    gc.disable()
    try:
        result = agents.rollout(agent, TASK, 4, generator(), episode=lived)
        node = weakref.ref(result.state["fast"]._pairs)
        result.loss.mean().backward()
        del result
        assert node() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"rule": "hebian"}, "unknown rule 'hebian'.*did you mean 'hebbian'"),
        ({"cell": "gru"}, "unknown cell 'gru'"),
        ({"hidden": 0}, "hidden must be .* at least 1, not 0"),
        ({"hidden": "many"}, "hidden must be .* not 'many'"),
        ({"network": "plastic-rnn,hidden=3", "hidden": 4}, "hidden is given twice: 3 in network .*, and 4"),
        ({"rate": -1}, "rate must be .* not -1"),
        ({"decay": 2}, "decay must be a number from 0 to 1, not 2"),
        ({"plasticity": "full"}, "plasticity must be one of .*neg_uniform.* not 'full'"),
        ({"size": 3}, "unknown option 'size'"),
        ({"rule": "hebbian,strength=3"}, "unknown option 'strength'"),
        ({"rule": "tests.agents.test_agents:Nothing"}, "has no 'Nothing'"),
        ({"rule": "tests.agents.test_agents:make"}, "not a subclass"),
        ({"rule": "no_such_module:X"}, "no module 'no_such_module'"),
        ({"rule": "tests.agents.test_agents:Wrong"}, "missing a required argument: 'kind'"),
        ({"rule": ":X"}, "not of the form module:Name"),
        ({"rule": ".agents:X"}, "not of the form module:Name"),
        ({"rule": 3}, "not 3"),
        ({"cell": "os:getcwd"}, "not a subclass of agents.networks.cells.Cell"),
        ({"cell": None}, "cell must be a name, not None"),
        ({"seed": -1}, "seed must be an integer from 0"),
        ({"hidden": 10**9}, "hidden=1000000000 makes .* weights, more memory than this machine has"),
    ],
)
def test_wrong_options_are_refused_in_one_sentence(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        agents.make(5, 2, **wrong)
    assert "\n" not in str(caught.value)


def test_wrong_sizes_and_records_are_refused() -> None:
    with pytest.raises(UsageError, match="made for 5 observations"):
        agents.rollout(agents.make(5, 1), TASK, 2, generator())
    with pytest.raises(UsageError, match="cannot record 'mood'"):
        agents.rollout(make(), TASK, 2, generator(), record=["mood"])
    for observation in (torch.zeros(3), torch.zeros(()), torch.zeros(5, dtype=torch.float64)):
        with pytest.raises(UsageError, match=r"this agent takes \(\.\.\., 5\) and torch.float32"):
            agents.make(5, 1)(observation)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"batch_size": 0}, "batch_size must be an integer of at least 1"),
        ({"episode": episode(3)}, "30 × 3 .* not the task's 30 × batch_size=4"),
        ({"episode": episode().map(lambda x: x[1:])}, "29 × 4"),
        ({"parameters": {"mood": torch.zeros(3)}}, "no parameter 'mood': choose from loss_weight, encode"),
        (
            {"parameters": {"loss_weight": torch.zeros(2, 3)}},
            r"'loss_weight' must have the shape \(6,\), or .* \(2, 3\)",
        ),
        ({"parameters": {"loss_weight": torch.zeros(2, 6), "encode.weight": torch.zeros(3, 17, 7)}}, "'encode.weight'"),
    ],
)
def test_rollouts_of_what_does_not_fit_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        agents.rollout(make("gradient"), TASK, generator=generator(), **{"batch_size": 4} | wrong)


class Wrong(Rule):
    """Whatever a user may return by mistake."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.rank_one = kind == "matrix"  # type: ignore[misc]

    def change(self, signals: Signals) -> Any:
        pre, post = signals.pre, signals.post
        return {
            "nothing": lambda: None,
            "swapped": lambda: agents.RankOne(post, pre),
            "shape": lambda: torch.zeros(3, 3),
            "matrix": lambda: agents.RankOne(pre, post).dense(),
            "error": lambda: agents.RankOne(pre, signals.error),  # type: ignore[arg-type]
            "weight": lambda: signals.weight,
        }[self.kind]()


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("nothing", "not None"),
        ("swapped", "not RankOne of factors 7 and 17"),
        ("shape", r"a matrix \(\.\.\., 17, 7\), not a tensor \(3, 3\)"),
        ("matrix", r"must be RankOne of factors \(\.\.\., 17\) and \(\.\.\., 7\), not a tensor"),
        ("error", "not RankOne of factors 17 and None"),
        ("weight", "reads the signal 'weight', which its `needs` does not list"),
    ],
)
def test_rules_that_return_something_else_are_refused(kind: str, says: str) -> None:
    agent = make(f"tests.agents.test_agents:Wrong,kind={kind}")
    with pytest.raises(UsageError, match=says):
        agents.rollout(agent, TASK, 4, generator(), episode=episode())
    with pytest.raises(UsageError, match=says):
        agent(torch.zeros(3, 16, dtype=torch.float64))


@pytest.mark.parametrize(
    "bound", [1.0, agents.Bound("tight", 1.0), agents.Bound("hard", -1.0), agents.Bound("soft", math.nan)]
)  # type: ignore[arg-type]
@pytest.mark.parametrize("network", ["plastic-rnn", "self-modulated", "hebbian-mlp"])
def test_what_is_no_bound_is_refused(bound: Any, network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.rules.hebbian.Hebbian.bound", bound)
    with pytest.raises(UsageError, match="the bound of rule Hebbian must be None or Bound"):
        agents.make_for(TASK, rule="hebbian", network=network)


def test_the_name_of_a_task_is_no_task() -> None:
    for wrong in (
        lambda: agents.make_for("CueReward"),  # type: ignore[arg-type]
        lambda: agents.rollout(agents.make(16, 1), "CueReward", 1, torch.Generator()),  # type: ignore[arg-type]
    ):
        with pytest.raises(UsageError, match=r"not 'CueReward': make_task makes one"):
            wrong()


def test_control_is_wider() -> None:
    assert agents.make(5, 2, rule="none-wide", hidden=8).options.hidden == 12
    assert "fast" not in agents.make(5, 2, rule="none").initial_state((1,))


@pytest.mark.parametrize("batched", [True, False])
def test_closed_loop_population_lives_in_its_own_worlds(batched: bool) -> None:
    task = Walk()
    agent = agents.make_for(task, hidden=5).double()
    agent.batched = batched
    population = {n: p.detach() + 0.1 * torch.randn(3, *p.shape, dtype=p.dtype) for n, p in agent.named_parameters()}
    with torch.no_grad():
        together = agents.rollout(agent, task, 4, generator(), parameters=population)
        for i in range(3):
            place, _ = task.reset(4, generator())[0]
            alone = {n: p[i] for n, p in population.items()}
            total, state = torch.zeros(4, dtype=torch.float64), None
            for _ in range(task.horizon):
                output, state = torch.func.functional_call(agent, alone, (place, state))
                place = place + output
                total -= place.abs().squeeze(-1)
            torch.testing.assert_close(together.metric[i], total)
            torch.testing.assert_close(together.loss[i], -total)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"network": "cap,cap=2,hidden=5"}, {"network": "kwta,k=2,hidden=5"}),
        ({"network": "cap", "cap": 2}, {"network": "kwta", "k": 2}),
        ({"cap": 2}, {"k": 2}),
        ({"rule": "firing-table,cap=2"}, {"rule": "firing-table,k=2"}),
        ({"rule": "abcd", "network": "random-network"}, {"rule": "abcd", "network": "hebbian-mlp"}),
    ],
)
def test_names_of_the_release_before_go_on_with_a_line(old, new, caplog):
    tell_renamed.cache_clear()
    made = [agents.make(9, 2, **{"rule": "firing-table", **given}) for given in (new, old, old)]
    lines = [record.getMessage() for record in caplog.records]
    assert len({json.dumps(agent.config) for agent in made}) == 1
    assert lines
    assert len(lines) == len(set(lines))
    for line in lines:
        assert re.search("'(cap|random-network)' is called '(kwta|k|hebbian-mlp)' now", line)


def test_an_option_is_given_by_one_of_its_names():
    with pytest.raises(UsageError, match="cap is called k now, and both are given: leave out cap"):
        agents.make(9, 2, rule="firing-table", network="kwta,k=2,cap=2")
    small = agents.make(9, 2, rule="firing-table", network="kwta,k=2,hidden=5")
    task = make_task("OnlineClassification,source=halfspace,n_train=4,n_query=4")
    assert agents.transfer_rule(small, task, "cap,cap=3").options.k == 3
