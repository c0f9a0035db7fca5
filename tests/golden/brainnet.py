"""Replays `brainnet_*`: networks with a cap, rules by firing codes, and the best output rule in closed form."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from agents.cap_firing import Capped, Firing
from agents.cap_network import CapNetwork, CapOptions
from agents.closed_form import best_output_rule, learned_by_entry, outputs_of
from agents.percepts import Percepts
from agents.rules.firing import FiringOutput, FiringTable
from tests.golden.forms import worse

Replay = tuple[dict[str, Tensor], dict[str, Tensor]]


def replay(trace: Mapping[str, Any]) -> Replay:
    """One of three kinds of trace."""
    if "cfg__n_examples" in trace:
        return _closed_form(trace), {}
    if "weight__graph" in trace:
        return _forward(trace)
    return worse(_online(trace, rollout_form=False), _online(trace, rollout_form=True), trace)


class Network(CapNetwork):
    """With the program's bias; where more units are equally strong than may fire, those of the trace do."""

    bias: Tensor
    masks: Iterator[Tensor]  # who fires (S, V), for each time that the cap is used

    def fire(
        self, drive: Tensor, graph: Tensor | None, bias: Tensor | None = None, times: Any = Capped.times
    ) -> Firing:
        self.before_cap: list[Tensor] = []
        self.firing = super().fire(drive, graph, self.bias, times)
        return self.firing

    def strongest(self, activity: Tensor) -> tuple[Tensor, Tensor]:
        self.before_cap.append(activity)
        index = next(self.masks).expand(activity.shape).topk(self.options.kept, -1).indices
        values = activity.gather(-1, index)
        valid = activity.topk(self.options.kept, -1).values
        torch.testing.assert_close(values.sort(-1, descending=True).values, valid)
        return values, index

    def seen(self) -> dict[str, Tensor]:
        """What happened when the units fired last: (T, S, V) each, and for ties (T, S)."""
        code, rounds, kept = self.firing.code, self.options.rounds, self.options.kept
        before = torch.stack(self.before_cap).squeeze(1)
        sorted_ = before.sort(-1, descending=True).values
        return {
            "pre_cap_activity": before,
            "post_cap_activity": torch.stack(self.firing.rounds).squeeze(1),
            "fired_mask": torch.stack([code >> bit & 1 for bit in reversed(range(rounds))]).squeeze(1),
            "topk_tie": sorted_[..., kept - 1] == sorted_[..., kept],
        }


def _network(trace: Mapping[str, Any]) -> Network:
    """The network of the trace, every option read from it."""
    features, classes = int(trace["cfg__n_features"]), int(trace["cfg__n_labels"])
    rounds = int(trace["cfg__rounds"]) + 1
    rule = FiringOutput(rounds=rounds)
    if "cfg__additive" in trace:
        rule = (FiringTable if trace["cfg__use_graph_rule"] else FiringOutput)(
            when="mistakes" if trace["cfg__update_only_if_misclassified"] else "always",
            edges="all" if trace["cfg__update_all_output_edges"] else "pair",
            update="additive" if trace["cfg__additive"] else "multiplicative",
            rate=float(trace["cfg__step_size"]),
            rounds=rounds,
        )
    options = CapOptions(
        hidden=int(trace["cfg__n_nodes"]),
        cap=int(trace["cfg__cap"]),
        rounds=rounds,
        drive="through_graph",
        fired="topk",
        double_softmax=True,
    )
    network = Network(features + classes, classes, rule=rule, options=options, features=features, seed=0).double()
    with torch.no_grad():
        if "rule__output_table_code_by_wrong" in trace:
            rule.output_table.copy_(_tensor(trace, "rule__output_table_code_by_wrong"))
        if isinstance(rule, FiringTable):
            rule.graph_table.copy_(_tensor(trace, "rule__graph_table_pre_by_post"))
    return network


def _forward(trace: Mapping[str, Any]) -> Replay:
    network, label = _network(trace), _tensor(trace, "label")
    names = ("weight__input", "weight__graph", "weight__output", "bias__graph", "bias__output")
    leaves = {name: _tensor(trace, name).requires_grad_() for name in names}
    inputs, graph, outputs = (
        (leaves[f"weight__{name}"] * _tensor(trace, f"mask__{name}")).T for name in ("input", "graph", "output")
    )
    network.bias, network.masks = leaves["bias__graph"], iter(_tensor(trace, "step__fired_mask"))
    firing = network.fire((_tensor(trace, "input__x") @ inputs)[None], graph[None])
    softmax = (firing.activity[0] @ outputs + leaves["bias__output"]).softmax(-1)
    loss = cross_entropy(softmax, label)
    values = {f"step__{name}": value for name, value in network.seen().items()}
    values |= {"firing_code": firing.code[0], "output__softmax": softmax, "loss": loss}
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return values, {f"grad__{name}": gradient for name, gradient in zip(leaves, gradients, strict=True)}


def _online(trace: Mapping[str, Any], rollout_form: bool) -> Replay:
    """All examples in turn, then all once more; in the rollout's form the steps' weights are not seen."""
    network, label = _network(trace), _tensor(trace, "label")
    input_weight = _tensor(trace, "weight__input").requires_grad_()
    edges = _tensor(trace, "mask__graph").T
    state: Any = {
        "inputs": (input_weight * _tensor(trace, "mask__input")).T[None],
        "edges": edges[None],
        "graph": (_tensor(trace, "init__graph_weights").T * edges)[None],
        "outputs": (_tensor(trace, "init__output_weights") * _tensor(trace, "mask__output")).T[None],
    }
    network.bias = _tensor(trace, "bias__graph")
    onehot = one_hot(label, network.output_size).double()
    percepts = Percepts(_tensor(trace, "input__x")[:, None], onehot[:, None])
    masks = _tensor(trace, "step__fired_mask")  # (S, T, V)
    if rollout_form:
        plastic_graph = isinstance(network.rule, FiringTable)
        network.masks = iter(masks.flatten(0, 1) if plastic_graph else masks.transpose(0, 1))
        learned = network.learn(percepts, state)
        assert learned is not None
        softmax, state = learned[0][:, 0], learned[1]
        values = {"step__softmax": softmax, "step__prediction": softmax.argmax(-1)}
    else:
        network.masks = iter(masks.flatten(0, 1))
        values, state = _steps(trace, network, percepts, state)
    network.masks = iter(_tensor(trace, "final__fired_mask"))
    final = network.answer(percepts, state)[:, 0]
    values |= {f"final__{name}": value for name, value in network.seen().items() if name != "pre_cap_activity"}
    values["final__softmax"] = final
    doubled = str(trace["cfg__loss"]) == "cross_entropy_applied_to_softmax_output"
    values["loss"] = cross_entropy(final, label) if doubled else (final - onehot).square().mean()
    wanted = {"grad__rule__output_flat": network.rule.output_table}
    if "grad__rule__graph_flat" in trace:
        wanted["grad__rule__graph_flat"] = network.rule.graph_table
    if "grad__weight__input" in trace:
        wanted["grad__weight__input"] = input_weight
    found = torch.autograd.grad(values["loss"], list(wanted.values()))
    gradients = {
        name: gradient.flatten() if "rule" in name else gradient for name, gradient in zip(wanted, found, strict=True)
    }
    return {name: value.detach() for name, value in values.items()}, gradients


def _steps(trace: Mapping[str, Any], network: Network, percepts: Percepts, state: Any) -> tuple[dict[str, Tensor], Any]:
    """Single steps, with what the program stores at each."""
    elsewhere = 1 - _tensor(trace, "mask__graph")
    absent = _tensor(trace, "init__graph_weights") * elsewhere  # edges that are not there: the program changes them too
    rule, steps = network.rule, []
    for index, label in enumerate(_tensor(trace, "label")):
        softmax, state = network.live(percepts[index], state)
        seen = {name: value[:, 0] for name, value in network.seen().items() if name != "pre_cap_activity"}
        prediction = softmax[0].argmax()
        changed = (prediction != label) | (rule.when == "always")
        if isinstance(rule, FiringTable):
            absent = absent + changed.double() * rule.rate * rule.graph_table[0, 0] * elsewhere
        steps.append(
            {
                **seen,
                "softmax": softmax[0],
                "prediction": prediction,
                "firing_code": network.firing.code[0, 0],
                "weights_changed": changed,
                "graph_weights": state["graph"][0].T + absent,
                "output_weights": state["outputs"][0].T,
            }
        )
    return {f"step__{name}": torch.stack([step[name] for step in steps]) for name in steps[0]}, state


def _closed_form(trace: Mapping[str, Any]) -> dict[str, Tensor]:
    activity, label = _tensor(trace, "input__x"), _tensor(trace, "label")
    classes, rate = int(trace["cfg__n_classes"]), float(trace["cfg__step_size"])
    best = best_output_rule(activity, label, classes, rate)
    rule, loss = best.rule.flatten(), best.loss
    if not (activity == activity.round()).all():
        rule, loss = _truncated(activity, label, one_hot(label, classes).double(), rate)
    return {
        "result__rule_00_01_10_11_nan_if_singular": rule,
        "result__printed_loss_nan_if_singular": loss,
        "result__solved": rule.isfinite().all(),
    }


def _truncated(activity: Tensor, label: Tensor, onehot: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    """As the program does it: the 4×4 matrix is summed in integers, each sum cut towards zero."""
    changes = rate * learned_by_entry(activity, onehot)  # (V, 4, K)
    design = outputs_of(activity, changes.flatten(-2)).view(len(label), 4, -1).mT  # (n, K, 4)
    matrix = torch.zeros(4, 4, dtype=torch.double)
    for example in label.argsort(stable=True):  # classes outermost
        for row in design[example]:
            matrix = (matrix + torch.outer(row, row)).trunc()
    rule = torch.linalg.solve(matrix, design[torch.arange(len(label)), label].sum(0))
    return rule, (design @ rule - onehot).square().mean()


def _tensor(trace: Mapping[str, Any], name: str) -> Tensor:
    return torch.as_tensor(trace[name])
