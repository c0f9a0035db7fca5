"""Both forms of an agent's weights, dense steps and the rollout's, must agree with a trace."""

from torch import Tensor

from tests.golden.reading import Trace, refuse_unless

Replayed = tuple[dict[str, Tensor], dict[str, Tensor]]
"""Values and gradients by the trace's names."""


def worse(dense: Replayed, rolled: Replayed, trace: Trace) -> Replayed:
    """Of every array the one that lies farther from the trace."""
    for ours, other in zip(dense, rolled, strict=True):
        for name in other:
            theirs = trace.compared(name, ours[name])
            no_worse = (other[name].double() - theirs).abs().max() <= (ours[name].double() - theirs).abs().max()
            if not no_worse:  # so that not-a-number counts as worse
                ours[name] = other[name]
    return dense


def reached(gradients: dict[str, Tensor], trace: Trace) -> dict[str, Tensor]:
    """The gradients without those that a trace need not have, as the loss does not depend on the parameter."""
    for name in trace.words("cfg__params_with_no_gradient_path"):
        refuse_unless(
            name in trace or f"param__{name}" in trace,
            f"cfg__params_with_no_gradient_path must name parameters, not {name!r}",
        )
        gradient = gradients.get(f"grad__{name}")
        refuse_unless(
            gradient is None or not gradient.any(),
            f"cfg__params_with_no_gradient_path must not name {name}, on which the loss depends",
        )
        if gradient is not None and f"grad__{name}" not in trace:
            del gradients[f"grad__{name}"]
    return gradients
