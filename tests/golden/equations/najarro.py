"""`najarro_*` by the equations: weights that change by coefficients per connection."""

from itertools import pairwise

import numpy as np

from tests.golden.equations.numerics import Arrays, stacked

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
