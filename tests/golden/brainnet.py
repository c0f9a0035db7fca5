"""Replays `brainnet_*`: k-winners-take-all networks, rules by firing codes, and the best output rule in closed form."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from agents.networks.kwta.closed_form import RANK, best_output_rule, learned_by_entry, outputs_of
from agents.networks.kwta.firing import Firing, Winners
from agents.networks.kwta.network import KWTANetwork, KWTAOptions
from agents.percepts import Percepts
from agents.rules.firing import FiringOutput, FiringTable
from plastic_envs.utils.errors import UsageError
from tests.golden.forms import Replayed, worse
from tests.golden.reading import Trace, refuse_unless

STARTS = {"reset": True, "random": False}


def replay(trace: Trace) -> Replayed:
    """One of three kinds of trace."""
    if any(name.startswith("result__") for name in trace):
        return _closed_form(trace), {}
    if "cfg__additive" not in trace and "firing_code" in trace:
        return _forward(trace)
    steps = _online(trace, rollout_form=False)
    # many steps at once change additive weights only: multiplicative ones have the single steps alone
    return worse(steps, _online(trace, rollout_form=True), trace) if trace.flag("cfg__additive") else steps


class Network(KWTANetwork):
    """With the program's bias; where more units are equally strong than may fire, those of the trace do."""

    bias: Tensor
    masks: Iterator[Tensor]  # who fires (S, V), for each time that k winners take all

    def fire(
        self, drive: Tensor, graph: Tensor | None, bias: Tensor | None = None, times: Any = Winners.times
    ) -> Firing:
        self.before_winners: list[Tensor] = []
        self.firing = super().fire(drive, graph, self.bias, times)
        return self.firing

    def strongest(self, activity: Tensor) -> tuple[Tensor, Tensor]:
        self.before_winners.append(activity)
        if not self.competes:
            return super().strongest(activity)
        fired = next(self.masks).expand(activity.shape)
        index = fired.topk(self.options.kept, -1).indices
        values = activity.gather(-1, index)
        given, valid = values.sort(-1, descending=True).values, activity.topk(self.options.kept, -1).values
        if not (fired.sum(-1) == self.options.kept).all() or not torch.allclose(given, valid, 1e-7, 1e-7):
            raise UsageError("fired_mask must have 1 for as many units as win, the strongest of them")
        return values, index

    @property
    def competes(self) -> bool:
        """Whether k winners take all: else all units are kept, and those that are active have fired."""
        return self.options.fired == "topk"

    def seen(self) -> dict[str, Tensor]:
        """What happened when the units fired last: (T, S, V) each, and for ties (T, S)."""
        code, rounds, kept = self.firing.code, self.options.rounds, self.options.kept
        before = torch.stack(self.before_winners).squeeze(1)
        sorted_ = before.sort(-1, descending=True).values
        return {
            "pre_cap_activity": before,
            "post_cap_activity": torch.stack(self.firing.rounds).squeeze(1),
            "fired_mask": torch.stack([code >> bit & 1 for bit in reversed(range(rounds))]).squeeze(1),
            "topk_tie": (sorted_[..., kept - 1 : kept] == sorted_[..., kept : kept + 1]).any(-1),
        }


def _network(trace: Trace, rule: FiringOutput | FiringTable) -> Network:
    """The network of the trace, with the rule."""
    features, classes, units = (trace.integer(f"cfg__n_{name}") for name in ("features", "labels", "nodes"))
    cap = trace.integer("cfg__cap", -1, units)
    refuse_unless(cap, f"cfg__cap must be from 1 to {units}, or -1 for no cap, not 0")
    options = KWTAOptions(
        hidden=units,
        k=units if cap < 0 else cap,
        rounds=rule.rounds,
        drive="through_graph",
        fired="positive" if cap < 0 else "topk",
        double_softmax=True,
    )
    return Network(features + classes, classes, rule=rule, options=options, features=features, seed=0).double()


def _rounds(trace: Trace) -> int:
    """How often units fire: the program counts the times through the graph."""
    return trace.integer("cfg__rounds", 0, 7) + 1


def _rule(trace: Trace) -> FiringOutput | FiringTable:
    """The rule of the trace, which has tables of the graph even where they are not used."""
    rule = (FiringTable if trace.flag("cfg__use_graph_rule") else FiringOutput)(
        when="mistakes" if trace.flag("cfg__update_only_if_misclassified") else "always",
        edges="all" if trace.flag("cfg__update_all_output_edges") else "pair",
        update="additive" if trace.flag("cfg__additive") else "multiplicative",
        rate=trace.number("cfg__step_size"),
        rounds=_rounds(trace),
    ).double()
    tables = {
        "output": trace.tensor("rule__output_table_code_by_wrong", rule.codes, 2),
        "graph": trace.tensor("rule__graph_table_pre_by_post", rule.codes, rule.codes),
    }
    for name, table in tables.items():
        flat = trace.tensor(f"rule__{name}_flat", table.numel())
        refuse_unless((flat == table.flatten()).all(), f"rule__{name}_flat and the table of that rule must be the same")
        if hasattr(rule, f"{name}_table"):
            getattr(rule, f"{name}_table").data.copy_(table)
    return rule


def _forward(trace: Trace) -> Replayed:
    network = _network(trace, FiringOutput(rounds=_rounds(trace)))
    features, classes, units = network.features, network.output_size, network.options.hidden
    inputs = trace.tensor("input__x", None, features)
    label = trace.integers("label", len(inputs), below=classes)
    shapes = {
        "weight__input": (units, features),
        "weight__graph": (units, units),
        "weight__output": (classes, units),
        "bias__graph": (units,),
        "bias__output": (classes,),
    }
    leaves = {name: trace.tensor(name, *shape).requires_grad_() for name, shape in shapes.items()}
    projection, graph, outputs = (
        (leaves[f"weight__{name}"] * trace.mask(f"mask__{name}", *shapes[f"weight__{name}"])).T
        for name in ("input", "graph", "output")
    )
    fired = _fired(trace, "step__fired_mask", network.options.rounds, len(inputs), units)
    network.bias, network.masks = leaves["bias__graph"], iter(fired)
    firing = network.fire((inputs @ projection)[None], graph[None])
    softmax = (firing.activity[0] @ outputs + leaves["bias__output"]).softmax(-1)
    loss = cross_entropy(softmax, label)
    values = {f"step__{name}": value for name, value in network.seen().items()}
    code = firing.code[0]
    if not network.competes and trace["firing_code"].shape[:1] == (1,):
        code = code[:1]  # where all units win the program codes the first example alone
    values |= {"firing_code": code, "output__softmax": softmax, "loss": loss}
    gradients = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
    return values, {f"grad__{name}": gradient for name, gradient in zip(leaves, gradients, strict=True)}


def _fired(trace: Trace, name: str, *shape: int) -> Tensor:
    return trace.integers(name, *shape, below=2).double()


def _online(trace: Trace, rollout_form: bool) -> Replayed:
    """All examples in turn, as often as there are epochs, then all once more; a rollout does not show every step."""
    network = _network(trace, _rule(trace))
    features, classes, units, rounds = (
        network.features,
        network.output_size,
        network.options.hidden,
        network.rule.rounds,
    )
    inputs = trace.tensor("input__x", None, features)
    label = trace.integers("label", len(inputs), below=classes)
    named = str(trace["cfg__loss"])
    doubled, squared = named.startswith("cross_entropy"), "squared" in named or "mse" in named
    refuse_unless(doubled or squared, f"cfg__loss must name cross_entropy or a mean squared error, not {named!r}")
    epochs = trace.integer("cfg__epochs")
    input_weight = trace.tensor("weight__input", units, features).requires_grad_()
    edges = trace.mask("mask__graph", units, units)
    refuse_unless(trace.mask("mask__output", classes, units).all(), "mask__output must be 1 everywhere")
    refuse_unless(not trace.tensor("bias__output", classes).any(), "bias__output must be 0 while weights change")
    start = _start(trace, units, classes)
    state: Any = {
        "inputs": (input_weight * trace.mask("mask__input", units, features)).T[None],
        "edges": edges.T[None],
        "graph": (start["graph"] * edges).T[None],
        "outputs": start["outputs"].T[None],
    }
    network.bias = start["bias"]
    onehot = one_hot(label, classes).double()
    masks = _fired(trace, "step__fired_mask", epochs * len(inputs), rounds, units)
    percepts = Percepts(inputs.repeat(epochs, 1)[:, None], onehot.repeat(epochs, 1)[:, None])
    if rollout_form:
        plastic_graph = isinstance(network.rule, FiringTable)
        network.masks = iter(masks.flatten(0, 1) if plastic_graph else masks.transpose(0, 1))
        learned = network.learn(percepts, state)
        assert learned is not None
        softmax, state = learned[0][:, 0], learned[1]
        values = {"step__softmax": softmax, "step__prediction": softmax.argmax(-1)}
    else:
        network.masks = iter(masks.flatten(0, 1))
        values, state = _steps(network, percepts, label.repeat(epochs), state, start["graph"], 1 - edges)
    network.masks = iter(_fired(trace, "final__fired_mask", rounds, len(inputs), units))
    final = network.answer(percepts[: len(inputs)], state)[:, 0]
    values |= {f"final__{name}": value for name, value in network.seen().items() if name != "pre_cap_activity"}
    values["final__softmax"] = final
    values["loss"] = cross_entropy(final, label) if doubled else (final - onehot).square().mean()
    wanted = {"grad__rule__output_flat": network.rule.output_table}
    if isinstance(network.rule, FiringTable):
        wanted["grad__rule__graph_flat"] = network.rule.graph_table
    if "grad__weight__input" in trace:
        wanted["grad__weight__input"] = input_weight
    found = torch.autograd.grad(values["loss"], list(wanted.values()), materialize_grads=True)
    gradients = {
        name: gradient.flatten() if "rule" in name else gradient for name, gradient in zip(wanted, found, strict=True)
    }
    return {name: value.detach() for name, value in values.items()}, gradients


def _start(trace: Trace, units: int, classes: int) -> dict[str, Tensor]:
    """Graph, outputs and bias of the graph before the first example."""
    start = {
        "graph": trace.tensor("init__graph_weights", units, units),
        "outputs": trace.tensor("init__output_weights", classes, units),
        "bias": trace.tensor("bias__graph", units),
    }
    if trace.choice("cfg__start", STARTS):
        value = 0 if trace.flag("cfg__additive") else 1
        kept = all((values == value).all() for values in start.values())
        refuse_unless(
            kept, f"cfg__start reset makes graph, outputs and bias__graph start at {value}, which they do not"
        )
    return start


def _steps(
    network: Network, percepts: Percepts, label: Tensor, state: Any, absent: Tensor, elsewhere: Tensor
) -> tuple[dict[str, Tensor], Any]:
    """Single steps, with what the program stores at each: also of edges that are not there, which it changes too."""
    rule, steps, absent = network.rule, [], absent * elsewhere
    for index, true in enumerate(label):
        softmax, state = network.live(percepts[index], state)
        seen = {name: value[:, 0] for name, value in network.seen().items() if name != "pre_cap_activity"}
        prediction = softmax[0].argmax()
        changed = (prediction != true) | (rule.when == "always")
        if isinstance(rule, FiringTable):
            change = changed.double() * rule.rate * rule.graph_table[0, 0] * elsewhere
            absent = absent + change if rule.additive else absent * (1 + change)
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


def _closed_form(trace: Trace) -> dict[str, Tensor]:
    """The best rule, which many rules may be, or that of the program, whose matrix is summed in integers."""
    examples, features, classes = (trace.integer(f"cfg__n_{name}") for name in ("examples", "features", "classes"))
    activity, rate = trace.tensor("input__x", examples, features), trace.number("cfg__step_size")
    label = trace.integers("label", examples, below=classes)
    onehot = one_hot(label, classes).double()
    best = best_output_rule(activity, label, classes, rate)
    rule, loss = best.rule.flatten(), best.loss
    changes = rate * learned_by_entry(activity, onehot)  # (V, 4, K)
    design = outputs_of(activity, changes.flatten(-2)).view(examples, 4, classes).mT  # (n, K, 4)
    matrix = _truncated(design, label)
    inverse = torch.linalg.pinv(matrix, rtol=RANK, hermitian=True)
    theirs = trace.tensor("result__rule_00_01_10_11_nan_if_singular", 4)
    singular = torch.linalg.matrix_rank(matrix, rtol=RANK, hermitian=True) < 4
    exact = (design == design.round()).all()
    if not exact:
        rule = inverse @ design[torch.arange(examples), label].sum(0)
    if singular and theirs.isnan().all():
        rule, loss = theirs, torch.full_like(loss, torch.nan)
    elif singular:  # many rules are equally good: the one next to theirs
        rule = rule + (theirs - rule) - inverse @ (matrix @ (theirs - rule))
    if not exact:
        loss = (design @ rule - onehot).square().mean()
    return {
        "result__rule_00_01_10_11_nan_if_singular": rule,
        "result__printed_loss_nan_if_singular": loss,
        "result__solved": rule.isfinite().all(),
    }


def _truncated(design: Tensor, label: Tensor) -> Tensor:
    """The program's 4×4 matrix: each sum is cut towards zero."""
    matrix = torch.zeros(4, 4, dtype=torch.double)
    for example in label.argsort(stable=True):  # classes outermost
        for row in design[example]:
            matrix = (matrix + torch.outer(row, row)).trunc()
    return matrix
