"""`shervani_*` by the equations: errors that travel back by matrices of their own."""

from itertools import pairwise
from typing import Any

import numpy as np

from tests.golden.equations.numerics import Arrays, cross_entropy, gradients, named, softmax, stacked


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
