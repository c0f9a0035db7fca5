"""`duan_*` by the equations: recurrent networks that set the rates of their own learning."""

from typing import Any

import numpy as np

from tests.golden.equations.numerics import Arrays, clamp, gradients, named, outer, relu, sigmoid, stacked, times

TENSORS = ("in_w", "in_b", "rech_w", "rech_b", "reci_w", "reci_b", "out_w", "out_b")


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
