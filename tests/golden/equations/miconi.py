"""`miconi_*` by the equations: completion of patterns and images, mazes, and the one-shot head."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.golden.equations.numerics import (
    Arrays,
    clamp,
    gradients,
    named,
    outer,
    relu,
    sigmoid,
    softmax,
    stacked,
    times,
)


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
