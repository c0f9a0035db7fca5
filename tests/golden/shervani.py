"""Replays `shervani_*`: feedback networks with up to three terms of the pool, fixed or symmetric feedback."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

import agents
from agents.feedback_network import FeedbackNetwork
from tests.golden.forms import worse

TERMS = {"pseudo_gradient": 1, "eHebb": 3, "Oja": 10}
"""The trace's names of terms, in the order of its coefficients, and their numbers in the pool."""
FEEDBACK = {"fix": "random", "sym": "symmetric"}
REPAIRED = "repaired_code_grad_meta_param_feedback_constant_per_step"


def replay(trace: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Both forms of the weights, dense steps and the rollout's, must agree with the trace; the worse counts."""
    return worse(_replay(trace, rollout_form=False), _replay(trace, rollout_form=True), trace)


def _replay(trace: Mapping[str, Any], rollout_form: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    agent = _agent(trace)
    labels = one_hot(_tensor(trace, "label__train"), agent.output_size).double()
    shown = torch.cat([_tensor(trace, "input__x_train"), labels], -1)
    queries = torch.cat(
        [_tensor(trace, "query__x"), torch.zeros_like(labels[:1]).expand(len(trace["query__x"]), -1)], -1
    )
    observations = torch.cat([shown, queries]).unsqueeze(1)  # (S, 1, D), one episode
    birth = {f"weight.{layer}": _matrix(trace, f"init__W{layer}_out_by_in") for layer in agent.shapes}
    birth |= {f"feedback.{layer}": _matrix(trace, f"init__B{layer}_feedback") for layer in agent.shapes}
    if agent.options.feedback == "symmetric":
        birth = {name: value for name, value in birth.items() if name.startswith("weight")}
    state = agent.initial_state((1,), birth)
    percepts = agent.perceive(observations, state)
    steps: list[dict[str, Tensor]] = []
    for step in range(len(shown)):
        seen: dict[str, Tensor] = {}
        seen["logits"], after = agent.live(percepts[step], state, seen)
        if rollout_form:
            learned = agent.learn(percepts[step : step + 1], state, scored=True)
            assert learned is not None
            seen["logits"], after = learned[0][0], learned[1]
        state = after
        feedback = state["feedback"] or state["weights"]
        seen |= {f"W{layer}_after": matrix.transpose(1, 2) for layer, matrix in state["weights"].items()}
        seen |= {f"B{layer}_after": matrix.transpose(1, 2) for layer, matrix in feedback.items()}
        steps.append(seen)
    logits = agent.answer(percepts[len(shown) :], state)[:, 0]
    last = len(agent.shapes)
    values = {f"step__{name}": torch.stack([step[name][0] for step in steps]) for name in steps[0]}
    values |= {f"step__activation_y{layer}": values[f"step__activity.{layer}"] for layer in range(1, last)}
    values[f"step__activation_y{last}_softmax"] = values[f"step__activity.{last}"]
    values |= {f"step__error_e{layer}": values[f"step__error.{layer}"] for layer in range(last + 1)}
    values["query__logits"] = logits
    values["query__cross_entropy"] = cross_entropy(logits, _tensor(trace, "query__label"))
    coefficients = _coefficients(trace)
    unused = [value for name, value in coefficients.items() if _term(name) not in agent.rule.terms]
    penalty = agent.rule.penalty() + agent.rule.l1 * torch.stack([*unused, torch.zeros(())]).abs().sum()
    values["loss"] = values["query__cross_entropy"] + penalty
    values["loss"].backward()
    return {name: value.detach() for name, value in values.items()}, _gradients(agent, coefficients, trace)


def _agent(trace: Mapping[str, Any]) -> FeedbackNetwork:
    """The network of the trace, every option read from it."""
    features, *hidden, output_size = (int(size) for size in trace["cfg__layer_sizes"])
    terms = sorted(TERMS[str(name)] for name in trace["cfg__terms"])
    agent = agents.make(
        features + output_size,
        output_size,
        rule=f"pool,terms={'+'.join(map(str, terms))},l1={float(trace['cfg__l1_lambda'])}",
        network="feedback",
        hidden=hidden,
        feedback=FEEDBACK[str(trace["cfg__feedback"])],
        beta=float(trace["cfg__softplus_beta"]),
    )
    assert isinstance(agent, FeedbackNetwork)
    agent.double()
    given = {_term(name): value for name, value in _coefficients(trace).items()}
    with torch.no_grad():
        agent.rule.theta.copy_(torch.stack([given[term] for term in terms]))
    return agent


def _gradients(agent: FeedbackNetwork, coefficients: dict[str, Tensor], trace: Mapping[str, Any]) -> dict[str, Tensor]:
    """Ours by the trace's names; with symmetric feedback, the vector that a repaired program gives."""
    found = {}
    for name, value in coefficients.items():
        used = _term(name) in agent.rule.terms
        gradient = agent.rule.theta.grad[agent.rule.terms.index(_term(name))] if used else value.grad
        found[f"grad__{name}"] = gradient
    return {REPAIRED: torch.stack(list(found.values()))} if REPAIRED in trace else found


def _coefficients(trace: Mapping[str, Any]) -> dict[str, Tensor]:
    """All five of them, in order; two are in no rule, but penalised."""
    names = sorted(name for name in trace if name.startswith("meta_param__"))
    return {name: _tensor(trace, name).clone().requires_grad_() for name in names}


def _term(name: str) -> int | None:
    return TERMS.get(name.partition("__")[2].partition("_")[2])


def _matrix(trace: Mapping[str, Any], name: str) -> Tensor:
    """A matrix of the trace, output × input, as ours of one episode (1, n, m)."""
    return _tensor(trace, name).T.unsqueeze(0)


def _tensor(trace: Mapping[str, Any], name: str) -> Tensor:
    return torch.as_tensor(trace[name])
