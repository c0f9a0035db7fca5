"""Replays `najarro_*`: feedforward networks with random weights and a set of ABCD coefficients per connection."""

import dataclasses
from itertools import pairwise

import torch
from torch import Tensor

import agents
from agents.networks.hebbian_mlp import HebbianMLP
from tests.golden.forms import Replayed, worse
from tests.golden.reading import Trace, refuse_unless

VARIANTS = {
    **{name: name.replace("_", "+") for name in ("A", "AD", "AD_lr", "ABC", "ABC_lr", "ABCD", "ABCD_lr")},
    "ABCD_lr_D_out": "ABC+lr+D",
    "ABCD_lr_D_in_and_out": "ABCD+lr+D",
}
COEFFICIENTS = {"lr": "η", "D_inside": "D", "D_outside": "D'"}
"""From the trace's names to ours, where they differ."""
BORN = ("uni", "normal", "default", "xa_uni", "xa_uni_big", "uni_big", "sparse", "ka_uni", "ones", "zeros", "coevolve")
"""What the program draws the weights at birth from, unless they are searched; in either case they are stored."""
COEFFICIENT_ARRAY = "param__hebbian_coefficients_flat"


def replay(trace: Trace) -> Replayed:
    """Both forms of the weights, new ones at each step and changed in place, must agree with the trace."""
    with torch.no_grad():
        return worse(_replay(trace, in_place=False), _replay(trace, in_place=True), trace)


def _replay(trace: Trace, in_place: bool) -> Replayed:
    agent = _agent(trace)
    raw = _agent(trace)  # shows the weights before they are normalised
    raw.options = dataclasses.replace(raw.options, normalise=False)
    observations = trace.tensor("input__observation", None, agent.observation_size)
    state = agent.initial_state((1,), _birth(trace, agent), len(observations) if in_place else None)
    steps: list[dict[str, Tensor]] = []
    for observation in observations:
        seen: dict[str, Tensor] = {}
        _, before = raw(observation[None], agent.close_state(state))
        output, state = agent.live(observation[None], state, seen)
        last = len(agent.shapes)
        step = {"o0_used_in_update": observation[None], "network_output_before_squash": seen["raw_output"]}
        step |= {f"o{layer}_used_in_update": seen[f"activity.{layer}"] for layer in range(1, last + 1)}
        step["action"] = _action(trace, output)
        for layer in agent.shapes:
            step[f"W{layer}_after_update_before_normalisation"] = before["weights"][layer].transpose(1, 2)
            step[f"W{layer}_at_next_forward"] = state["weights"][layer].transpose(1, 2).clone()
        steps.append(step)
    return {f"step__{name}": torch.stack([step[name][0] for step in steps]) for name in steps[0]}, {}


def _agent(trace: Trace) -> HebbianMLP:
    """The network of the trace, every option and coefficient read from it."""
    sizes = trace.sizes("cfg__layer_sizes", 3)
    robot = _is_robot(trace)
    agent = agents.make(
        sizes[0],
        sizes[-1],
        rule=f"abcd,variant={trace.choice('cfg__rule', VARIANTS)}",
        network="hebbian-mlp",
        hidden=sizes[1:-1],
        normalise=not robot,
        output="tanh" if robot else "linear",
    )
    assert isinstance(agent, HebbianMLP)
    agent.double()
    names = [COEFFICIENTS.get(column, column) for column in trace.words("cfg__coefficient_columns")]
    if "D" not in agent.rule.names:  # the only D, outside of the learning rate
        names = ["D'" if name == "D" else name for name in names]
    refuse_unless(
        sorted(names) == sorted(agent.rule.names),
        f"cfg__coefficient_columns must be those of cfg__rule {trace['cfg__rule']}, not {', '.join(names)}",
    )
    count = sum(n * m for n, m in pairwise(sizes))
    one_column = len(names) == 1 and trace[COEFFICIENT_ARRAY].ndim == 1
    flat = trace.tensor(COEFFICIENT_ARRAY, count, *([] if one_column else [len(names)])).view(count, -1)
    for ours, theirs in zip(agent.rule.coefficients, flat.split([n * m for n, m in pairwise(sizes)]), strict=True):
        given = dict(zip(names, theirs.T.reshape(-1, *ours.shape[1:]), strict=True))  # rows are input-major
        ours.data.copy_(torch.stack([given[name] for name in agent.rule.names]))
    return agent


def _is_robot(trace: Trace) -> bool:
    """Whether the output is squashed, and the weights are not normalised."""
    style = str(trace["cfg__environment_style"])
    refuse_unless(
        style.split()[:1] in (["bullet"], ["other"]),
        f"cfg__environment_style must begin with bullet or other, not {style!r}",
    )
    return style.startswith("bullet")


def _action(trace: Trace, output: Tensor) -> Tensor:
    """The output as it is, the index of its largest number, or within the bounds of the actions if there are some."""
    if trace.flag("cfg__discrete_action"):
        return output.argmax(-1)
    if _is_robot(trace) or "cfg__action_low" not in trace:
        return output
    low, high = (trace.tensor(f"cfg__action_{bound}", output.shape[-1]) for bound in ("low", "high"))
    return output.clamp(low, high)


def _birth(trace: Trace, agent: HebbianMLP) -> dict[str, Tensor]:
    """The weights at birth (1, n, m): a matrix per layer, output × input, or all in one vector, layer by layer."""
    trace.choice("cfg__init", dict.fromkeys(BORN))
    shapes = [(m, n) for n, m in agent.shapes.values()]
    flat = [name for name in trace if name.startswith(("param__", "init__")) and name != COEFFICIENT_ARRAY]
    if len(flat) == 1:
        sizes = [m * n for m, n in shapes]
        parts = trace.tensor(flat[0], sum(sizes)).split(sizes)
        matrices = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
    else:
        matrices = [trace.tensor(f"init__W{layer}_out_by_in", *shape) for layer, shape in enumerate(shapes, 1)]
    return {layer: matrix.T.unsqueeze(0) for layer, matrix in zip(agent.shapes, matrices, strict=True)}
