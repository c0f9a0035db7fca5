"""Replays `shervani_*`: feedback networks with up to three terms of the pool, fixed or symmetric feedback."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

import agents
from agents.networks.feedback.network import FeedbackNetwork
from tests.golden.forms import Replayed, worse
from tests.golden.reading import Trace, refuse_unless

TERMS = {"pseudo_gradient": 1, "eHebb": 3, "Oja": 10}
"""The trace's names of terms, in the order of its coefficients, and their numbers in the pool."""
FEEDBACK = {"fix": "random", "sym": "symmetric"}
REPAIRED = "repaired_code_grad_meta_param_feedback_constant_per_step"
OTHER_REPAIR = "repaired_code_grad_meta_param_feedback_live_transpose"
ADAM_EPSILON = 1e-8


def replay(trace: Trace) -> Replayed:
    """Both forms of the weights, dense steps and the rollout's, must agree with the trace; the worse counts."""
    return worse(_replay(trace, rollout_form=False), _replay(trace, rollout_form=True), trace)


def _replay(trace: Trace, rollout_form: bool) -> Replayed:
    agent = _agent(trace)
    features, classes, last = agent.features, agent.output_size, len(agent.shapes)
    shown, queries = (trace.tensor(name, None, features) for name in ("input__x_train", "query__x"))
    labels = one_hot(trace.integers("label__train", len(shown), below=classes), classes).double()
    observations = torch.cat([torch.cat([shown, labels], -1), torch.nn.functional.pad(queries, (0, classes))])
    state = agent.initial_state((1,), _birth(trace, agent))
    percepts = agent.perceive(observations.unsqueeze(1), state)  # one episode
    steps: list[dict[str, Tensor]] = []
    for step in range(len(shown)):
        seen: dict[str, Tensor] = {}
        logits, after = agent.live(percepts[step], state, seen)
        if rollout_form:
            learned = agent.learn(percepts[step : step + 1], state, scored=True)
            assert learned is not None
            logits, after = learned[0][0], learned[1]
        state = after
        feedback = state["feedback"] or state["weights"]
        record = {"logits": logits, f"activation_y{last}_softmax": seen[f"activity.{last}"]}
        record |= {f"activation_y{layer}": seen[f"activity.{layer}"] for layer in range(1, last)}
        record |= {f"error_e{layer}": seen[f"error.{layer}"] for layer in range(last + 1)}
        record |= {f"W{layer}_after": matrix.transpose(1, 2) for layer, matrix in state["weights"].items()}
        record |= {f"B{layer}_after": matrix.transpose(1, 2) for layer, matrix in feedback.items()}
        steps.append(record)
    logits = agent.answer(percepts[len(shown) :], state)[:, 0]
    values = {f"step__{name}": torch.stack([step[name][0] for step in steps]) for name in steps[0]}
    values["query__logits"] = logits
    values["query__cross_entropy"] = cross_entropy(logits, trace.integers("query__label", len(logits), below=classes))
    coefficients = _coefficients(trace)
    unused = [value for name, value in coefficients.items() if _term(name) not in agent.rule.terms]
    penalty = agent.rule.penalty() + agent.rule.l1 * torch.stack([*unused, torch.zeros(())]).abs().sum()
    values["loss"] = values["query__cross_entropy"] + penalty
    values["loss"].backward()
    return {name: value.detach() for name, value in values.items()}, _gradients(agent, coefficients, trace)


def _agent(trace: Trace) -> FeedbackNetwork:
    """The network of the trace, every option read from it."""
    features, *hidden, output_size = trace.sizes("cfg__layer_sizes", 3)
    terms = sorted({1, *(TERMS[name] for name in trace.words("cfg__terms", TERMS))})  # the first is always there
    agent = agents.make(
        features + output_size,
        output_size,
        rule=f"pool,terms={'+'.join(map(str, terms))},l1={trace.number('cfg__l1_lambda')}",
        network="feedback",
        hidden=hidden,
        feedback=trace.choice("cfg__feedback", FEEDBACK),
        beta=trace.number("cfg__softplus_beta"),
    )
    assert isinstance(agent, FeedbackNetwork)
    agent.double()
    given = {_term(name): value for name, value in _coefficients(trace).items()}
    with torch.no_grad():
        agent.rule.theta.copy_(torch.stack([given[term] for term in terms]))
    return agent


def _birth(trace: Trace, agent: FeedbackNetwork) -> dict[str, Tensor]:
    """Weights and feedback, output × input, as ours of one episode (1, n, m)."""
    birth = {}
    for layer, (n, m) in agent.shapes.items():
        weight = trace.tensor(f"init__W{layer}_out_by_in", m, n)
        feedback = trace.tensor(f"init__B{layer}_feedback", m, n)
        birth[f"weight.{layer}"] = weight.T.unsqueeze(0)
        if agent.options.feedback == "random":
            birth[f"feedback.{layer}"] = feedback.T.unsqueeze(0)
        else:
            refuse_unless(
                (feedback == weight).all(), f"init__B{layer}_feedback must be the weights, by cfg__feedback sym"
            )
    return birth


def _gradients(agent: FeedbackNetwork, coefficients: dict[str, Tensor], trace: Trace) -> dict[str, Tensor]:
    """Ours by the trace's names, and where they lead Adam; with symmetric feedback the vector of a repaired program."""
    found = {}
    for name, value in coefficients.items():
        used = _term(name) in agent.rule.terms
        found[name] = agent.rule.theta.grad[agent.rule.terms.index(_term(name))] if used else value.grad
    gradients = {f"grad__{name}": gradient for name, gradient in found.items()}
    if agent.options.feedback == "symmetric":  # the program's own gradients are known to be wrong
        trace.tensor(OTHER_REPAIR, len(found))
        repaired = {REPAIRED: torch.stack(list(found.values()))}
        return repaired | _after_adam(trace, {name: trace.tensor(name) for name in gradients if name in trace})
    return gradients | _after_adam(trace, gradients)


def _after_adam(trace: Trace, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
    """The coefficients after one step."""
    rate, moved = trace.number("cfg__meta_adam_lr"), {}
    for name, gradient in gradients.items():
        coefficient = name.removeprefix("grad__")
        change = rate * gradient / (gradient.abs() + ADAM_EPSILON)
        moved[coefficient.replace("meta_param__", "after_adam__")] = trace.tensor(coefficient) - change
    return moved


def _coefficients(trace: Trace) -> dict[str, Tensor]:
    """All five of them, in order; two are in no rule, but penalised."""
    names = [f"meta_param__theta{number}_{term}" for number, term in enumerate([*TERMS, "unused", "unused"])]
    return {name: trace.tensor(name).clone().requires_grad_() for name in names}


def _term(name: str) -> int | None:
    return TERMS.get(name.partition("__")[2].partition("_")[2])
