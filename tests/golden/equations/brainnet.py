"""`brainnet_*` by the equations: projection, cap, tables of firing codes, and the closed form."""

from typing import Any

import numpy as np

from tests.golden.equations.numerics import Arrays, cross_entropy, gradients, named, relu, softmax, stacked


def fire(x: Any, p: Arrays, cap: int, rounds: int) -> Arrays:
    """What the units do with one example."""
    drive = (p["weight__input"] * p["mask__input"]) @ x
    before, after, mask, tie = [], [], [], []
    for number in range(rounds + 1):
        summed = drive if number == 0 else (p["weight__graph"] * p["mask__graph"]) @ (after[-1] + drive)
        activity = relu(summed + p["bias__graph"])
        size = np.real(activity)
        kept = size > 0 if cap == -1 else np.isin(np.arange(len(size)), np.argsort(-size, kind="stable")[:cap])
        ordered = np.sort(size)[::-1]
        before.append(activity)
        after.append(np.where(kept, activity, 0))
        mask.append(kept.astype(int))
        tie.append(0 < cap < len(size) and ordered[cap - 1] == ordered[cap])
    code = sum(fired << (rounds - number) for number, fired in enumerate(mask))
    p_out = softmax((p["weight__output"] * p["mask__output"]) @ after[-1] + p["bias__output"])
    return {
        "pre_cap_activity": np.stack(before),
        "post_cap_activity": np.stack(after),
        "fired_mask": np.stack(mask),
        "topk_tie": np.array(tie),
        "firing_code": code,
        "softmax": p_out,
    }


def brainnet_sizes(cap: int, rounds: int, seed: int, units: int = 7, features: int = 4, classes: int = 3) -> Arrays:
    """Options, masks, weights and examples that both kinds of trace have."""
    draw = np.random.default_rng(seed)
    return {
        "cfg__n_features": features,
        "cfg__n_labels": classes,
        "cfg__n_nodes": units,
        "cfg__cap": cap,
        "cfg__rounds": rounds,
        "cfg__seed": seed,
        "mask__input": (draw.random((units, features)) < 0.7).astype(float),
        "mask__graph": (draw.random((units, units)) < 0.5) * (1.0 - np.eye(units)),
        "mask__output": np.ones((classes, units)),
        "weight__input": draw.standard_normal((units, features)),
        "weight__graph": draw.random((units, units)),
        "weight__output": draw.random((classes, units)),
        "bias__graph": draw.random(units),
        "bias__output": np.zeros(classes),
        "input__x": draw.standard_normal((6, features)),
        "label": draw.integers(classes, size=6),
    }


def brainnet_forward(cap: int, rounds: int, seed: int) -> Arrays:
    """Five arrays of weights and some examples."""
    p = brainnet_sizes(cap, rounds, seed)
    p["bias__output"] = np.random.default_rng(seed + 1).standard_normal(len(p["bias__output"]))

    def live(p: Arrays) -> tuple[list[Arrays], Any, Any]:
        steps = [fire(x, p, cap, rounds) for x in p["input__x"]]
        answers = np.stack([step["softmax"] for step in steps])
        return steps, answers, cross_entropy(answers, p["label"])

    steps, answers, loss = live(p)
    slopes = gradients(lambda p: live(p)[2], p, [name for name in p if name.startswith(("weight__", "bias__"))])
    names = ("pre_cap_activity", "post_cap_activity", "fired_mask", "topk_tie")
    seen = {name: np.stack([step[name] for step in steps], 1) for name in names}
    codes = np.stack([step["firing_code"] for step in steps])
    values = {"firing_code": codes, "output__softmax": answers, "loss": loss}
    return p | named("step__", seen) | values | named("grad__", slopes)


def brainnet_online(
    *,
    cap: int = 3,
    rounds: int = 1,
    seed: int,
    additive: bool,
    misclassified: bool,
    all_edges: bool,
    graph_rule: bool = True,
    start: str = "random",
    squared: bool = False,
    epochs: int = 1,
    step_size: float = 0.1,
) -> Arrays:
    """Examples in turn, as often as there are epochs, then once more without changes."""
    p = brainnet_sizes(cap, rounds, seed)
    draw, codes = np.random.default_rng(seed + 1), 2 ** (rounds + 1)
    tables = {"graph": draw.standard_normal((codes, codes)), "output": draw.standard_normal((codes, 2))}
    if start == "reset":
        for name in ("weight__graph", "weight__output", "bias__graph"):
            p[name] = np.full_like(p[name], 0.0 if additive else 1.0)
    label, classes = p["label"], len(p["weight__output"])

    def changed(weight: Any, rate: Any) -> Any:
        return weight + step_size * rate if additive else weight * (1 + step_size * rate)

    def live(q: Arrays) -> tuple[list[Arrays], list[Arrays], Any]:
        q, steps = dict(q), []
        graph_table, output_table = q["graph"], q["output"]
        for x, true in list(zip(p["input__x"], label, strict=True)) * epochs:
            seen = fire(x, q, cap, rounds)
            code, predicted = seen["firing_code"], int(np.argmax(np.real(seen["softmax"])))
            learns = not (misclassified and predicted == true)
            if learns and graph_rule:
                rates = np.where(p["mask__graph"] == 1, graph_table[np.ix_(code, code)].T, graph_table[0, 0])
                q["weight__graph"] = changed(q["weight__graph"], rates)
            if learns:
                output = [*q["weight__output"]]
                rows = range(classes) if all_edges else [predicted]
                for row in rows:
                    if not (all_edges and row == true):
                        output[row] = changed(output[row], output_table[code, 1])
                output[true] = changed(output[true], output_table[code, 0])
                q["weight__output"] = np.stack(output)
            kept = {name: value for name, value in seen.items() if name != "pre_cap_activity"}
            weights = {"graph_weights": q["weight__graph"], "output_weights": q["weight__output"]}
            steps.append(kept | weights | {"prediction": predicted, "weights_changed": learns})
        final = [fire(x, q, cap, rounds) for x in p["input__x"]]
        answers = np.stack([seen["softmax"] for seen in final])
        error = ((answers - np.eye(classes)[label]) ** 2).mean() if squared else cross_entropy(answers, label)
        return steps, final, error

    steps, final, loss = live(p | tables)
    wanted = ["output", *(["graph"] if graph_rule else []), "weight__input"]
    slopes = gradients(lambda q: live(q)[2], p | tables, wanted)
    given = {name: value for name, value in p.items() if name not in ("weight__graph", "weight__output")}
    loss_name = "mean_squared_error_of" if squared else "cross_entropy_applied_to"
    return given | {
        "cfg__additive": additive,
        "cfg__update_only_if_misclassified": misclassified,
        "cfg__update_all_output_edges": all_edges,
        "cfg__use_graph_rule": graph_rule,
        "cfg__step_size": step_size,
        "cfg__loss": f"{loss_name}_softmax_output",
        "cfg__start": start,
        "cfg__epochs": epochs,
        "rule__graph_flat": tables["graph"].ravel(),
        "rule__graph_table_pre_by_post": tables["graph"],
        "rule__output_flat": tables["output"].ravel(),
        "rule__output_table_code_by_wrong": tables["output"],
        "init__graph_weights": p["weight__graph"],
        "init__output_weights": p["weight__output"],
        **stacked(steps),
        **{
            f"final__{name}": np.stack([s[name] for s in final], 1)
            for name in ("fired_mask", "post_cap_activity", "topk_tie")
        },
        "final__softmax": np.stack([seen["softmax"] for seen in final]),
        "loss": loss,
        **{f"grad__rule__{name}_flat": slopes[name].ravel() for name in wanted[:-1]},
        "grad__weight__input": slopes["weight__input"],
    }


def closed_form(step: float, other: float) -> Arrays:
    """The best rule of outputs that learn from each example, by a matrix that is summed in integers.

    There are equally many examples of each class, so that many rules are equally good: `other` is how far the rule is
    from the shortest, or NaN for a program that gives up.
    """
    draw = np.random.default_rng(7)
    x, label, classes = (draw.random((6, 4)) < 0.5).astype(float), np.array([0, 1, 2, 2, 1, 0]), 3
    positive = {
        (fired, c): step * ((x[label == c] > 0) == fired).sum(0).astype(float)
        for fired in (0, 1)
        for c in range(classes)
    }
    phi = np.zeros((len(x), classes, 4))
    for k in range(classes):
        for fired in (0, 1):
            own, total = positive[fired, k], sum(positive[fired, c] for c in range(classes))
            phi[:, k, 2 * fired], phi[:, k, 2 * fired + 1] = x @ own, x @ (total - own)
    matrix = np.zeros((4, 4))
    for i in sorted(range(len(x)), key=lambda i: label[i]):
        for k in range(classes):
            matrix = np.trunc(matrix + np.outer(phi[i, k], phi[i, k]))
    wanted = phi[np.arange(len(x)), label].sum(0)
    free = np.linalg.svd(matrix)[2][-1]
    rule = np.full(4, np.nan) if np.isnan(other) else np.linalg.pinv(matrix) @ wanted + other * free
    return {
        "cfg__n_examples": len(x),
        "cfg__n_features": x.shape[1],
        "cfg__n_classes": classes,
        "cfg__step_size": step,
        "cfg__seed": 0,
        "input__x": x,
        "label": label,
        "result__rule_00_01_10_11_nan_if_singular": rule,
        "result__printed_loss_nan_if_singular": ((phi @ rule - np.eye(classes)[label]) ** 2).mean(),
        "result__solved": not np.isnan(rule).any(),
    }
