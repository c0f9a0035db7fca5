"""The programs' equations in plain NumPy, and traces of the options that no recorded trace has.

`python -m tests.golden.equations` writes the folder `equations` again. Nothing of our agents is used here. Derivatives
are taken by a complex step, f'(x) = Im f(x + ih) / h with h = 1e-30, which has no rounding error of a difference; what
is a constant to the program's gradients (who fires, who is limited) looks at real parts alone.
"""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "equations"
STEP = 1e-30
Arrays = dict[str, Any]


def gradients(loss: Callable[[Arrays], Any], parameters: Arrays, names: Iterable[str]) -> Arrays:
    """The derivatives of the loss with respect to some of the parameters."""
    found = {}
    for name in names:
        value = np.asarray(parameters[name], dtype=float)
        slope = np.zeros(value.shape)
        for index in np.ndindex(value.shape):
            moved = value.astype(complex)
            moved[index] += STEP * 1j
            slope[index] = np.imag(loss(parameters | {name: moved})) / STEP
        found[name] = slope
    return found


def stacked(steps: list[Arrays], prefix: str = "step__") -> Arrays:
    """The arrays of all steps, along a new first axis."""
    return {prefix + name: np.stack([step[name] for step in steps]) for name in steps[0]}


def named(prefix: str, arrays: Arrays) -> Arrays:
    """The arrays with a prefix to their names."""
    return {prefix + name: value for name, value in arrays.items()}


def relu(x: Any) -> Any:
    """max(x, 0)."""
    return np.where(np.real(x) > 0, x, 0)


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(−x))."""
    return 1 / (1 + np.exp(-x))


def softmax(x: Any) -> Any:
    """Over the last axis."""
    e = np.exp(x - np.real(x).max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def clamp(x: Any, low: Any, high: Any) -> Any:
    """x within limits; outside of them a constant."""
    return np.where((np.real(x) > low) & (np.real(x) < high), x, np.clip(np.real(x), low, high))


def cross_entropy(logits: Any, label: Any) -> Any:
    """The mean over examples."""
    return -np.log(softmax(logits))[np.arange(len(label)), label].mean()


# ---- BrainNet --------------------------------------------------------------------------------------------------------


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

    def live(p: Arrays) -> Arrays:
        steps = [fire(x, p, cap, rounds) for x in p["input__x"]]
        loss = cross_entropy(np.stack([step["softmax"] for step in steps]), p["label"])
        return {
            name: np.stack([step[name] for step in steps], -2) for name in list(steps[0])[:4] if name != "topk_tie"
        } | {
            "topk_tie": np.stack([step["topk_tie"] for step in steps], -1),
            "firing_code": np.stack([step["firing_code"] for step in steps]),
            "softmax": np.stack([step["softmax"] for step in steps]),
            "loss": loss,
        }

    lived = live(p)
    found = {name: lived.pop(name) for name in ("firing_code", "softmax", "loss")}
    slopes = gradients(lambda p: live(p)["loss"], p, [name for name in p if name.startswith(("weight__", "bias__"))])
    values = {"firing_code": found["firing_code"], "output__softmax": found["softmax"], "loss": found["loss"]}
    return p | named("step__", lived) | values | named("grad__", slopes)


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
        return (
            steps,
            final,
            ((answers - np.eye(classes)[label]) ** 2).mean() if squared else cross_entropy(answers, label),
        )

    steps, final, loss = live(p | tables)
    wanted = ["output", *(["graph"] if graph_rule else []), "weight__input"]
    slopes = gradients(lambda q: live(q)[2], p | tables, wanted)
    given = {name: value for name, value in p.items() if name not in ("weight__graph", "weight__output")}
    loss_name = "mean_squared_error" if squared else "cross_entropy_applied_to"
    return given | {
        "cfg__additive": additive,
        "cfg__update_only_if_misclassified": misclassified,
        "cfg__update_all_output_edges": all_edges,
        "cfg__use_graph_rule": graph_rule,
        "cfg__step_size": step_size,
        "cfg__loss": f"{loss_name}{'_of' if squared else ''}_softmax_output",
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


# ---- PlasticRNNs -----------------------------------------------------------------------------------------------------

TENSORS = ("in_w", "in_b", "rech_w", "rech_b", "reci_w", "reci_b", "out_w", "out_b")


def outer(a: Any, b: Any) -> Any:
    """Of each sample."""
    return a[:, :, None] * b[:, None, :]


def times(a: Any, matrix: Any) -> Any:
    """A vector and a matrix for each sample."""
    return (a[:, :, None] * matrix).sum(1)


def duan_step(x: Any, h: Any, c: Any, plastic: Arrays, p: Arrays, cfg: Arrays) -> tuple[Any, Any, Arrays, Arrays]:
    """The next h, c and plastic parts, and what is recorded."""
    weight = {name: p["base_param__" + name] + plastic[name] for name in TENSORS}
    u = times(x, weight["in_w"]) + weight["in_b"]
    e = relu(u)
    a = times(h, weight["rech_w"]) + weight["rech_b"] + times(e, weight["reci_w"]) + weight["reci_b"]
    lstm, old = cfg["cfg__rnn"] == "LSTM", c
    if lstm:
        i, f, g, o = np.split(a, 4, -1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c = f * c + i * g
        n, post = o * np.tanh(c), np.concatenate([i, f, g, o], -1)
    else:
        n = post = relu(a)
    new = n
    if cfg["cfg__layernorm"]:
        centred = n - n.mean(-1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + cfg["cfg__layernorm_eps"])
        new = p["layernorm__gain"] * centred / deviation + p["layernorm__bias"]
    z = times(new, weight["out_w"]) + weight["out_b"]
    q = p["inner_loss_weight__out"]
    modulator = 2 * sigmoid(z[:, -1]) if cfg["cfg__modulation"] else np.ones(len(z))
    eta, decay = cfg["cfg__p_lr"] * modulator, cfg["cfg__p_wd"] * modulator
    if cfg["cfg__plasticity_mode"] == "hebbian":
        update = {"in_w": outer(x, e), "rech_w": outer(h, post), "reci_w": outer(e, post), "out_w": outer(new, z)}
        update |= {name: 0 * weight[name] for name in TENSORS if name.endswith("_b")}
    else:
        d_z = 2 * q**2 * z / z.size
        d_n = times(d_z, weight["out_w"].swapaxes(1, 2))
        if cfg["cfg__layernorm"]:
            d_y, y = d_n * p["layernorm__gain"], centred / deviation
            d_n = (d_y - d_y.mean(-1, keepdims=True) - y * (d_y * y).mean(-1, keepdims=True)) / deviation
        d_a = d_n * (np.real(a) > 0) if not lstm else None
        if lstm:
            d_c = d_n * o * (1 - np.tanh(c) ** 2)
            d_o = d_n * np.tanh(c) * o * (1 - o)
            d_a = np.concatenate([d_c * g * i * (1 - i), d_c * old * f * (1 - f), d_c * i * (1 - g**2), d_o], -1)
        d_u = times(d_a, weight["reci_w"].swapaxes(1, 2)) * (np.real(u) > 0)
        update = {"in_w": outer(x, d_u), "in_b": d_u, "rech_w": outer(h, d_a), "rech_b": d_a}
        update |= {"reci_w": outer(e, d_a), "reci_b": d_a, "out_w": outer(new, d_z), "out_b": d_z}
    norm = np.sqrt(sum((value**2).reshape(len(x), -1).sum(-1) for value in update.values()))
    limit = cfg["cfg__inner_grad_clip"]
    limited = np.where(np.real(norm) > limit, eta * limit / norm, eta)
    plastic = dict(plastic)
    for name in TENSORS:
        wide = (slice(None), *[None] * (plastic[name].ndim - 1))
        rate = p.get("synaptic_lr__" + name, 1.0)
        plastic[name] = (1 - decay[wide]) * plastic[name] + limited[wide] * rate * update[name]
        if not np.isnan(clip := cfg["cfg__weight_clip_nan_means_none"]):
            plastic[name] = clamp(plastic[name], -clip, clip)
    record = {"output": z[:, : cfg["cfg__out_dim"]], "modulated_lr_before_norm_clip": eta, "modulated_wd": decay}
    record |= {"inner_loss": ((q * z) ** 2).mean(), "h": new, "full_output_z": z, "update_norm": norm}
    return new, c, plastic, record | ({"c": c} if lstm else {}) | named("plastic_", plastic)


def duan(mode: str, rnn: str, seed: int, **options: Any) -> Arrays:
    """A few steps of a few samples that start anywhere."""
    size = {"batch": 2, "input_dim": 2, "hidden": 2, "out_dim": 2, "steps": 3}
    cfg = named("cfg__", {"plasticity_mode": mode, "rnn": rnn, "inner_lr_mode": "random", "p_lr": 0.5, "p_wd": 0.2})
    cfg |= named("cfg__", {"inner_grad_clip": 0.4, "extra_dim": 1, "modulation": True, "layernorm": False})
    cfg |= named(
        "cfg__", {"layernorm_eps": 1e-5, "weight_clip_nan_means_none": np.nan, "seed": seed, **size, **options}
    )
    draw, hidden, batch = np.random.default_rng(seed), size["hidden"], size["batch"]
    gates = hidden * (4 if rnn == "LSTM" else 1)
    outputs = size["out_dim"] + cfg["cfg__extra_dim"] + cfg["cfg__modulation"]
    shapes: Arrays = {
        "in_w": (size["input_dim"], hidden),
        "in_b": (hidden,),
        "out_w": (hidden, outputs),
        "out_b": (outputs,),
    }
    shapes |= {"rech_w": (hidden, gates), "rech_b": (gates,), "reci_w": (hidden, gates), "reci_b": (gates,)}
    p: Arrays = {"base_param__" + name: draw.uniform(-1, 1, shapes[name]) for name in TENSORS}
    rates = {
        "random": lambda shape: draw.uniform(-1, 1, shape),
        "uniform": np.ones,
        "neg_uniform": lambda s: -np.ones(s),
    }
    if cfg["cfg__inner_lr_mode"] != "none":
        p |= {"synaptic_lr__" + name: rates[cfg["cfg__inner_lr_mode"]](shapes[name]) for name in TENSORS}
    p["inner_loss_weight__out"] = draw.uniform(0.5, 2, outputs)
    if cfg["cfg__layernorm"]:
        p |= {"layernorm__gain": draw.uniform(0.5, 2, hidden), "layernorm__bias": draw.uniform(-1, 1, hidden)}
    inputs = draw.standard_normal((size["steps"], batch, size["input_dim"]))
    target = draw.standard_normal((size["steps"], batch, size["out_dim"]))
    start = {name: draw.uniform(-0.3, 0.3, (batch, *shapes[name])) for name in TENSORS}
    h, c = draw.uniform(-0.5, 0.5, (2, batch, hidden))

    def live(p: Arrays) -> tuple[list[Arrays], Any]:
        state, steps = (h, c, start), []
        for x in inputs:
            *state, record = duan_step(x, *state, p, cfg)
            steps.append(record)
        output = np.stack([step["output"] for step in steps])
        return steps, ((output - target) ** 2).mean()

    steps, loss = live(p)
    slopes = gradients(lambda p: live(p)[1], p, p)
    unreached = [name for name, value in slopes.items() if not value.any()]
    return {
        **cfg,
        "cfg__plastic_flat_order": np.array(TENSORS),
        "cfg__params_with_no_gradient_path": np.array(unreached, dtype="U40"),
        **p,
        "input__x": inputs,
        "target__y": target,
        **named("init__plastic_", start),
        "init__h": h,
        **({"init__c": c} if rnn == "LSTM" else {}),
        **stacked(steps),
        "loss": loss,
        **{f"grad__{name}": value for name, value in slopes.items() if name not in unreached},
    }


# ---- MetaLearning-Plasticity -----------------------------------------------------------------------------------------


def shervani(feedback: str, terms: list[str], seed: int, *, sizes: list[int], beta: float, l1: float) -> Arrays:
    """One pass over samples, then queries."""
    draw, last = np.random.default_rng(seed), len(sizes) - 1
    weights = {n: draw.standard_normal((m, k)) * 0.7 for n, (k, m) in enumerate(pairwise(sizes), 1)}
    backward = {n: w if feedback == "sym" else draw.standard_normal(w.shape) for n, w in weights.items()}
    x, queries = draw.random((3, sizes[0])), draw.random((2, sizes[0]))
    label, query_label = draw.integers(sizes[-1], size=3), draw.integers(sizes[-1], size=2)
    names = ["theta0_pseudo_gradient", "theta1_eHebb", "theta2_Oja", "theta3_unused", "theta4_unused"]
    theta = dict(zip(names, (0.1, 0.07, 0.03, 0.02, -0.05), strict=True))

    def activity(v: Any) -> Any:
        return np.where(beta * np.real(v) > 20, v, np.log1p(np.exp(beta * v)) / beta)

    def forward(w: Arrays, x: Any) -> tuple[list[Any], Any]:
        y = [x]
        for layer in range(1, last):
            y.append(activity(w[layer] @ y[-1]))
        logits = w[last] @ y[-1]
        return [*y, softmax(logits)], logits

    def live(theta: Arrays, through: bool = False) -> tuple[list[Arrays], Any, Any, Any]:
        w, b, steps = dict(weights), dict(backward), []
        th0, th1, th2 = (theta[name] for name in names[:3])
        for sample, true in zip(x, label, strict=True):
            y, logits = forward(w, sample)
            e = {last: y[last] - np.eye(sizes[-1])[true]}
            for layer in reversed(range(last)):
                e[layer] = (b[layer + 1].T @ e[layer + 1]) * (1 - np.exp(-beta * y[layer]))
            new = {}
            for layer, matrix in w.items():
                change = -th0 * np.outer(e[layer], y[layer - 1])
                if "eHebb" in terms:
                    change = change - th1 * np.outer(e[layer], e[layer - 1])
                if "Oja" in terms:
                    change = change + th2 * (np.outer(y[layer], y[layer - 1]) - np.outer(y[layer], y[layer]) @ matrix)
                new[layer] = matrix + change
            w = new
            if feedback == "sym":
                b = {layer: matrix if through else np.real(matrix) for layer, matrix in w.items()}
            record = {"logits": logits, f"activation_y{last}_softmax": y[last]}
            record |= {f"activation_y{layer}": y[layer] for layer in range(1, last)}
            record |= {f"error_e{layer}": value for layer, value in e.items()}
            steps.append(record | {f"W{n}_after": m for n, m in w.items()} | {f"B{n}_after": m for n, m in b.items()})
        logits = np.stack([forward(w, query)[1] for query in queries])
        error = cross_entropy(logits, query_label)
        return steps, logits, error, error + l1 * sum(t * np.sign(np.real(t)) for t in theta.values())

    steps, logits, error, loss = live(theta)
    found = gradients(lambda theta: live(theta)[3], theta, names)
    rate, repaired = 0.01, {}
    arrays = named("grad__meta_param__", found)
    arrays |= {f"after_adam__{name}": theta[name] - rate * g / (abs(g) + 1e-8) for name, g in found.items()}
    if feedback == "sym":
        through = gradients(lambda theta: live(theta, True)[3], theta, names)
        repaired = {
            "constant_per_step": np.stack(list(found.values())),
            "live_transpose": np.stack(list(through.values())),
        }
        arrays = named("repaired_code_grad_meta_param_feedback_", repaired)
    return {
        "cfg__layer_sizes": np.array(sizes),
        "cfg__softplus_beta": beta,
        "cfg__terms": np.array(terms),
        "cfg__feedback": feedback,
        "cfg__l1_lambda": l1,
        "cfg__seed": seed,
        "cfg__meta_adam_lr": rate,
        **named("meta_param__", theta),
        **{f"init__W{n}_out_by_in": w for n, w in weights.items()},
        **{f"init__B{n}_feedback": b for n, b in backward.items()},
        "input__x_train": x,
        "label__train": label,
        "query__x": queries,
        "query__label": query_label,
        **stacked(steps),
        "query__logits": logits,
        "query__cross_entropy": error,
        "loss": loss,
        **arrays,
    }


# ---- differentiable-plasticity and backpropamine ---------------------------------------------------------------------


def completion(seed: int, *, clamped: bool, shared: bool = False, boost: float = 1.0) -> Arrays:
    """Patterns that are shown, then one of which half is missing."""
    draw, size = np.random.default_rng(seed), 4
    patterns = draw.uniform(-1, 1, (2, size))
    shown = np.stack([patterns[0], np.zeros(size), patterns[1], patterns[1] * [1, 1, 0, 0]])
    inputs = np.concatenate([shown, np.ones((4, 1))], -1) * (1.0 if clamped else boost)
    start, trace = draw.uniform(-0.5, 0.5, size + 1), draw.uniform(-0.5, 0.5, (size + 1, size + 1))
    p = {
        "w": draw.standard_normal((size + 1, size + 1)),
        "alpha": draw.standard_normal((1, 1) if shared else (size + 1, size + 1)),
        "eta": np.array([0.3]),
    }

    def live(p: Arrays) -> tuple[list[Arrays], Any]:
        y, q, steps = start, trace, []
        for x in inputs:
            summed = y @ (p["w"] + p["alpha"] * q)
            new = np.where(x != 0, x, np.tanh(summed)) if clamped else np.tanh(summed + x)
            q = (1 - p["eta"]) * q + p["eta"] * np.outer(y, new)
            y = new
            steps.append({"y": y, "hebb_pre_by_post_after": q})
        return steps, ((y[:size] - patterns[1]) ** 2).sum()

    steps, loss = live(p)
    kind = {"cfg__clamping": "unit is clamped wherever its input is nonzero", "cfg__alpha_shared": shared}
    return {
        "cfg__seed": seed,
        **(kind if clamped else {"cfg__input_boost": boost}),
        "cfg__loss": "sum of squared error on first pattern_size units at last step",
        "cfg__pattern_size": size,
        "input__x": inputs,
        "target": patterns[1],
        "init__y": start,
        "init__hebb": trace,
        "param__w_pre_by_post": p["w"],
        "param__alpha_pre_by_post": p["alpha"],
        "param__eta": p["eta"],
        **stacked(steps),
        "loss": loss,
        **named("grad__", gradients(lambda p: live(p)[1], p, p)),
    }


NONLINEARITIES: dict[str, Callable[[Any], Any]] = {"tanh": np.tanh, "sig": sigmoid, "lin": lambda x: x}


def maze(kind: str, addpw: int, modulator: str, seed: int, limit: float | None = None) -> Arrays:
    """Random targets of an affine readout; `limit` makes it the simple maze, with a fan-out of the modulator."""
    draw, n, batch, length = np.random.default_rng(seed), 3, 2, 4
    simple, order = limit is not None, "post_by_pre" if limit is None else "pre_by_post"
    shapes: Arrays = {f"w_{order}": (n, n), f"alpha_{order}": (n, n)}
    shapes |= {"plastic": {"eta": (1,)}, "modul": {"eta_eligibility": (1,)}}.get(kind, {})
    for name, (rows, columns) in {"input_to_hidden": (n, 3), "score": (2, n), "value": (1, n)}.items():
        shapes |= {f"{name}_weight": (rows, columns), f"{name}_bias": (rows,)}
    if kind != "plastic":
        shapes |= {"modulator_weight": (1, n), "modulator_bias": (1,)}
    if simple:
        shapes |= {"modulator_fanout_weight": (n, 1), "modulator_fanout_bias": (n,)}
    p = {name: draw.uniform(-1, 1, shape) for name, shape in shapes.items()}
    p |= {name: np.abs(value) for name, value in p.items() if name.startswith("eta")}
    inputs = draw.standard_normal((length, batch, 3))
    scores, worth = draw.standard_normal((length, batch, 2)), draw.standard_normal((length, batch, 1))
    h0 = draw.uniform(-0.9, 0.9, (batch, n))
    start, trace = draw.uniform(-0.9, 0.9, (2, batch, n, n))
    modulated, squash = kind != "plastic", NONLINEARITIES.get(modulator, np.tanh)
    plastic = "plastic_weights" if kind == "modul" else "hebb"

    def affine(p: Arrays, name: str, x: Any) -> Any:
        return x @ p[f"{name}_weight"].T + p[f"{name}_bias"]

    def live(p: Arrays) -> tuple[list[Arrays], Any]:
        h, m, e, steps, loss = h0, start, trace, [], 0.0
        for t, x in enumerate(inputs):
            effective = p[f"w_{order}"] + p[f"alpha_{order}"] * m
            sent = times(h, effective if simple else effective.swapaxes(1, 2))
            new = np.tanh(affine(p, "input_to_hidden", x) + sent)
            record = {"scores": affine(p, "score", new), "value": affine(p, "value", new), "h": new}
            if modulated:
                raw = affine(p, "modulator", new)
                gate = squash(raw)[:, :, None]
                if not simple:
                    record["modulator_pre_nonlinearity"] = raw
            if simple:
                rate = gate[:, :, 0] * p["modulator_fanout_weight"].T + p["modulator_fanout_bias"]
                m = clamp(m + rate[:, None, :] * outer(h, new), -limit, limit)
            else:
                product = outer(new, h)
                g = gate if modulated else p["eta"]
                d = g * (e if kind == "modul" else product)
                top = 0.99999 if kind == "modul" else 1.0
                soft = m + relu(d) * (1 - m) - relu(-d) * (1 + m)
                if addpw == 0:
                    m = (1 - g) * m + d
                elif addpw == 1:
                    m = m + d
                else:
                    m = clamp(soft, -top, top) if addpw == 2 else clamp(m + d, -1, 1)
                if kind == "modul":
                    e = (1 - p["eta_eligibility"]) * e + p["eta_eligibility"] * product
                    record[f"eligibility_{order}_after"] = e
            record[f"{plastic}_{order}_after"] = m
            h = new
            steps.append(record)
            loss = (
                loss
                + (((record["scores"] - scores[t]) ** 2).mean() + ((record["value"] - worth[t]) ** 2).mean()) / length
            )
        return steps, loss

    steps, loss = live(p)
    cfg = {"hidden": n, "batch": batch, "steps": length, "seed": seed}
    if simple:
        cfg["clip"] = limit
    else:
        cfg |= {"network_type": kind, "addpw": addpw, "modulator_nonlinearity": modulator}
        cfg |= {
            "repaired_code": kind == "modul" and addpw == 0,
            "params_with_no_gradient_path": np.array([], dtype="U30"),
        }
    return {
        **named("cfg__", cfg),
        "cfg__loss": "mean over steps of (mean sq err of scores + mean sq err of value)",
        "input__x": inputs,
        "target__scores": scores,
        "target__value": worth,
        "init__h": h0,
        f"init__{plastic}": start,
        **({"init__eligibility": trace} if kind == "modul" else {}),
        **named("param__", p),
        **stacked(steps),
        "loss": loss,
        **named("grad__", gradients(lambda p: live(p)[1], p, p)),
    }


def selu(x: Any) -> Any:
    """With the constants of its paper."""
    scale, alpha = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
    return scale * np.where(np.real(x) > 0, x, alpha * (np.exp(np.where(np.real(x) > 0, 0, x)) - 1))


def convolve(image: Any, weight: Any, bias: Any, stride: int) -> Any:
    """(C, H, W) by kernels (O, C, k, k), without padding."""
    patches = np.lib.stride_tricks.sliding_window_view(image, weight.shape[2:], (1, 2))[:, ::stride, ::stride]
    return np.einsum("ocij,cxyij->oxy", weight, patches) + bias[:, None, None]


def head(rule: str, activation: str, alpha: str, stride: int, gain: float, seed: int) -> Arrays:
    """Two labelled images and one whose label is hidden."""
    draw, features, classes = np.random.default_rng(seed), 2, 3
    squash = {"tanh": np.tanh, "relu": relu, "selu": selu}[activation]
    side = {1: 9, 2: 31}[stride]
    images, labels = draw.standard_normal((3, side, side)).round(2), np.eye(classes) * [[1], [1], [0]]
    target, start = np.eye(classes)[1], draw.uniform(-0.5, 0.5, (features, classes))
    p = {"w": draw.standard_normal((features, classes)), "eta": np.array([0.4])}
    p["alpha"] = draw.standard_normal((features, classes) if alpha == "free" else 1)
    for number in range(1, 5):
        p[f"conv{number}_weight"] = draw.standard_normal((features, 1 if number == 1 else features, 3, 3)) * 0.4
        p[f"conv{number}_bias"] = draw.uniform(0, 0.5, features)

    def live(p: Arrays) -> tuple[list[Arrays], Any]:
        q, steps = start, []
        for image, label in zip(images, labels, strict=True):
            f = image[None]
            for number in range(1, 5):
                f = squash(convolve(f, p[f"conv{number}_weight"], p[f"conv{number}_bias"], stride))
            f = f.ravel()
            y = softmax(f @ (p["w"] + p["alpha"] * q) + gain * label)
            q = (
                (1 - p["eta"]) * q + p["eta"] * np.outer(f, y)
                if rule == "hebb"
                else q + p["eta"] * y * (f[:, None] - y * q)
            )
            steps.append({"embedding": f, "softmax_output": y, "hebb_pre_by_post_after": q})
        return steps, -(target * np.log(y) + (1 - target) * np.log(1 - y)).mean()

    steps, loss = live(p)
    cfg = {"rule": rule, "alpha": alpha, "conv_activation": activation, "n_features": features, "n_classes": classes}
    cfg |= {"seed": seed, "conv_stride": stride, "conv_kernel": 3, "label_gain": gain}
    given = {"w_pre_by_post" if name == "w" else name: value for name, value in p.items()}
    return {
        **named("cfg__", cfg),
        "input__image": images,
        "input__label_onehot_zero_when_hidden": labels,
        "target__onehot": target,
        "init__hebb": start,
        **named("param__", given),
        **stacked(steps),
        "loss": loss,
        **named("grad__", gradients(lambda p: live(p)[1], p, p)),
    }


# ---- HebbianMetaLearning ---------------------------------------------------------------------------------------------

COLUMNS = {
    "A": ["A"],
    "AD": ["A", "D"],
    "AD_lr": ["A", "D", "lr"],
    "ABC": ["A", "B", "C"],
    "ABC_lr": ["A", "B", "C", "lr"],
    "ABCD": ["A", "B", "C", "D"],
    "ABCD_lr": ["A", "B", "C", "lr", "D"],
    "ABCD_lr_D_out": ["A", "B", "C", "lr", "D"],
    "ABCD_lr_D_in_and_out": ["A", "B", "C", "lr", "D_inside", "D_outside"],
}


def najarro(
    rule: str, seed: int, *, bullet: bool, init: str = "uni", discrete: bool = False, bound: float | None = None
) -> Arrays:
    """A few steps; weights at birth are one vector if they are co-evolved."""
    draw, sizes, columns = np.random.default_rng(seed), [3, 4, 3, 2], COLUMNS[rule]
    shapes = [(m, n) for n, m in pairwise(sizes)]
    ends = np.cumsum([m * n for m, n in shapes])
    flat = draw.standard_normal((ends[-1], len(columns))) * 0.5
    birth = np.split(draw.uniform(-0.5, 0.5, ends[-1]), ends[:-1])
    weights = [part.reshape(shape) for part, shape in zip(birth, shapes, strict=True)]
    given = {f"init__W{n}_out_by_in": weight for n, weight in enumerate(weights, 1)}
    if init == "coevolve":
        given = {"param__initial_weights_flat": np.concatenate(birth)}
    observations, steps = draw.standard_normal((4, sizes[0])), []
    for observation in observations:
        o1 = np.tanh(weights[0] @ observation)
        o2 = np.tanh(weights[1] @ o1)
        raw = weights[2] @ o2
        o = [observation, o1, o2, np.tanh(raw) if bullet else raw]
        step = {f"o{n}_used_in_update": value for n, value in enumerate(o)} | {"network_output_before_squash": raw}
        limited = o[3] if bound is None else np.clip(raw, -bound, bound)
        step["action"] = float(np.argmax(raw)) if discrete else limited
        for n, (weight, end) in enumerate(zip(weights, ends, strict=True)):
            rows = flat[end - weight.size : end]
            change = np.zeros(weight.shape)
            for j, i in np.ndindex(weight.shape):
                c = dict(zip(columns, rows[i * len(weight) + j], strict=True))
                inside = c["A"] * o[n][i] * o[n + 1][j] + c.get("B", 0) * o[n][i] + c.get("C", 0) * o[n + 1][j]
                within = c.get("D_inside", 0 if rule == "ABCD_lr_D_out" else c.get("D", 0))
                outside = c.get("D_outside", c["D"] if rule == "ABCD_lr_D_out" else 0)
                change[j, i] = c.get("lr", 1) * (inside + within) + outside
            weights[n] = weight + change
            step[f"W{n + 1}_after_update_before_normalisation"] = weights[n]
            if not bullet:
                weights[n] = weights[n] / np.abs(weights[n]).max()
            step[f"W{n + 1}_at_next_forward"] = weights[n]
        steps.append(step)
    style = "bullet (tanh output, no weight normalisation)"
    other = "other (raw linear output, per-layer max-abs normalisation after every update)"
    return {
        "cfg__rule": rule,
        "cfg__coefficient_columns": np.array(columns),
        "cfg__layer_sizes": np.array(sizes),
        "cfg__environment_style": style if bullet else other,
        "cfg__discrete_action": discrete,
        "cfg__seed": seed,
        "cfg__init": init,
        **({} if bound is None else {"cfg__action_low": np.full(2, -bound), "cfg__action_high": np.full(2, bound)}),
        "param__hebbian_coefficients_flat": flat,
        "input__observation": observations,
        **given,
        **stacked(steps),
    }


# ---- all of them -----------------------------------------------------------------------------------------------------


EVERY: Arrays = {"misclassified": False, "all_edges": True}
BOTH: Arrays = {"misclassified": False, "all_edges": False}
WRONG: Arrays = {"misclassified": True, "all_edges": False}
TRACES: dict[str, Callable[[], Arrays]] = {
    "brainnet_forward_no_cap": partial(brainnet_forward, -1, 2, 1),
    "brainnet_forward_all_kept": partial(brainnet_forward, 7, 1, 2),
    "brainnet_online_multiplicative_reset_twice": partial(
        brainnet_online, seed=3, additive=False, **WRONG, start="reset", epochs=2
    ),
    "brainnet_online_multiplicative_squared": partial(brainnet_online, seed=4, additive=False, **EVERY, squared=True),
    "brainnet_online_multiplicative_no_cap": partial(
        brainnet_online, seed=5, additive=False, **BOTH, cap=-1, graph_rule=False
    ),
    "brainnet_online_no_cap_twice": partial(
        brainnet_online, seed=6, additive=True, **BOTH, cap=-1, epochs=2, squared=True
    ),
    "brainnet_online_output_rule_twice": partial(
        brainnet_online, seed=7, additive=True, **WRONG, graph_rule=False, epochs=2
    ),
    "brainnet_online_graph_rule_no_rounds": partial(brainnet_online, seed=8, additive=True, **EVERY, rounds=0),
    "brainnet_closedform_step_of_a_hundredth": partial(closed_form, 0.01, np.nan),
    "brainnet_closedform_many_solutions_none": partial(closed_form, 1.0, np.nan),
    "brainnet_closedform_many_solutions_one": partial(closed_form, 1.0, 0.7),
    "duan_hebbian_rnn_weight_clip": partial(duan, "hebbian", "RNN", 1, weight_clip_nan_means_none=0.25),
    "duan_gradient_lstm_weight_clip_norm": partial(
        duan, "gradient", "LSTM", 2, weight_clip_nan_means_none=0.1, layernorm=True
    ),
    "duan_hebbian_lstm_norm_unmodulated": partial(duan, "hebbian", "LSTM", 3, layernorm=True, modulation=False),
    "duan_gradient_rnn_norm_uniform": partial(duan, "gradient", "RNN", 4, layernorm=True, inner_lr_mode="uniform"),
    "duan_gradient_rnn_unmodulated_bare": partial(
        duan, "gradient", "RNN", 5, modulation=False, extra_dim=0, inner_lr_mode="neg_uniform"
    ),
    "duan_hebbian_rnn_rates_of_one": partial(duan, "hebbian", "RNN", 6, inner_lr_mode="none", extra_dim=0),
    "shervani_fix_ehebb": partial(shervani, "fix", ["eHebb", "pseudo_gradient"], 1, sizes=[4, 3, 3], beta=5.0, l1=0.02),
    "shervani_sym_oja": partial(shervani, "sym", ["pseudo_gradient", "Oja"], 2, sizes=[4, 3, 3, 4], beta=10.0, l1=0.0),
    "miconi_simple_half_boost": partial(completion, 1, clamped=False, boost=0.5),
    "miconi_images_shared": partial(completion, 2, clamped=True, shared=True),
    "miconi_maze_modplast_sig": partial(maze, "modplast", 0, "sig", 3),
    "miconi_maze_modplast_lin": partial(maze, "modplast", 2, "lin", 4),
    "miconi_maze_modul_lin_repaired": partial(maze, "modul", 0, "lin", 5),
    "miconi_maze_modul_sig": partial(maze, "modul", 2, "sig", 6),
    "miconi_simplemaze_narrow": partial(maze, "modplast", 1, "tanh", 7, limit=0.5),
    "miconi_omniglot_head_relu_yoked": partial(head, "hebb", "relu", "yoked", 1, 2.0, 8),
    "miconi_omniglot_head_selu": partial(head, "oja", "selu", "free", 1, 1.0, 9),
    "najarro_ABCD_lr_co_evolved": partial(najarro, "ABCD_lr", 1, bullet=True, init="coevolve"),
    "najarro_ABCD_lr_D_out_limited": partial(najarro, "ABCD_lr_D_out", 2, bullet=False, init="normal", bound=0.3),
    "najarro_AD_lr_unlimited": partial(najarro, "AD_lr", 3, bullet=False, init="xa_uni"),
    "najarro_ABCD_lr_D_in_and_out_discrete": partial(najarro, "ABCD_lr_D_in_and_out", 4, bullet=False, discrete=True),
}
"""What makes each trace, by the name of its file without its ending."""


def make(name: str) -> dict[str, np.ndarray]:
    """The arrays of a trace, all of them real."""
    return {
        key: np.real(value) if np.iscomplexobj(value) else np.asarray(value) for key, value in TRACES[name]().items()
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in TRACES:
        np.savez_compressed(FOLDER / f"{name}.npz", **make(name))
