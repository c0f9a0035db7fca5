"""A feedback network's lifetime by a low-rank rule as one node of autograd, with no weights remembered for any step.

Forward, the weights W are the chunk's base and the pairs of its steps (see `chunked_matrix`). Backward, the gradient G
of the weights is kept in the same way, as each product x W with an adjoint z̄ adds x ⊗ z̄ to it. At step t, after which
the weights are keep · W + Σ a ⊗ b, with G the gradient of these:

    ā = b Gᵀ,  b̄ = a G        the adjoints of the change's factors, and through the rule those of its signals
    ē_{l+1} += (ē_l∘s_l) B_{l+1},  z̄_l += β ē_l∘e_l∘(1 − s_l)
                              of e_l = (e_{l+1} B_{l+1}ᵀ)∘s_l with s_l = σ(β z_l)
    z̄_l += f'(z_l)∘ȳ_l,  ȳ_{l−1} += z̄_l W_lᵀ
                              of the activities, from the last layer down
    G ← keep · G + Σ (y_{l−1} ⊗ z̄_l and x̄ ⊗ u)
                              of the products, also those x = u Wᵀ that rules read

The rule itself is differentiated by autograd, whose graph holds the vectors of one step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agents.agent import State
from agents.fast_weights.autograd import Node, first_order
from agents.fast_weights.chunked_matrix import Pairs
from agents.networks.feedback.circuit import FeedbackCircuit
from agents.networks.feedback.layer import CHUNK, FeedbackLayer, Moment
from agents.networks.feedback.step import Change, Sensed
from agents.percepts import Percepts
from agents.rules import LowRank, RankOne


def live_by_pairs(agent: FeedbackCircuit, percepts: Percepts, state: State) -> tuple[Tensor, dict[str, Tensor]]:
    """Live many steps: outputs (..., S, B, K) and the weights after them, differentiable by weights and rule."""
    inputs = (*state["weights"].values(), *agent.rule.parameters())
    remember = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    lifetime = _Lifetime(agent, percepts, state, remember)
    if remember:
        outputs, *matrices = _Lived.run(lifetime, *inputs)
    else:
        with torch.no_grad():
            outputs, *matrices = lifetime.run()
    return outputs, dict(zip(state["weights"], matrices, strict=True))


class _Lived(Node):
    """Outputs and final weights, by the weights at first and the rule's parameters."""

    @staticmethod
    def forward(ctx: Any, lifetime: _Lifetime, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs, *matrices = lifetime.run()
        ctx.lifetime = lifetime
        ctx.save_for_backward(*matrices)
        ctx.set_materialize_grads(False)
        return outputs, *matrices

    @staticmethod
    @first_order
    def backward(ctx: Any, to_outputs: Tensor | None, *to_matrices: Tensor | None) -> Any:
        lifetime: _Lifetime = ctx.lifetime
        for layer, matrix, gradient in zip(lifetime.layers.values(), ctx.saved_tensors, to_matrices, strict=True):
            layer.turn_back(matrix, gradient)
        return None, *lifetime.run_back(to_outputs)


@dataclass
class _Step:
    """What is remembered of one step: leaves and results of the rule's graph, and how to find its weights."""

    sensed: Sensed
    changes: list[LowRank]
    moments: list[Moment]
    labelled: Tensor
    scale: Tensor
    end: Tensor | None
    to_factors: list[Tensor]


class _Lifetime:
    """A batch of lifetimes of S steps, forward and back."""

    def __init__(self, agent: FeedbackCircuit, percepts: Percepts, state: State, remember: bool) -> None:
        self.agent, self.remember = agent, remember
        self.layers = {
            layer: FeedbackLayer(matrix, state["feedback"].get(layer)) for layer, matrix in state["weights"].items()
        }
        features, labels = (self.layers["1"].private(x) for x in (percepts.features, percepts.labels))
        self.percepts = Percepts(features, labels)
        self.labelled = self.percepts.labelled
        self.scales = agent.rate(self.labelled)
        self.parameters = [x for x in agent.rule.parameters() if x.requires_grad] if remember else []
        self.wanted = [x.requires_grad for x in agent.rule.parameters()]
        self.chunks: list[tuple[list[_Step], list[Pairs]]] = []

    def run(self) -> tuple[Tensor, ...]:
        """Outputs (..., S, B, K) and the weights (..., B, n, m) of each layer."""
        outputs: list[Tensor] = []
        count = len(self.percepts.features)
        for start in range(0, count, CHUNK):
            times = range(start, min(start + CHUNK, count))
            self.layers["1"].foresee(self.percepts.features[times.start : times.stop])
            steps = [self._step(time, outputs) for time in times]
            pairs = [layer.weights.fold() for layer in self.layers.values()]
            if self.remember:
                self.chunks.append((steps, pairs))
        first = self.layers["1"]
        return first.public_steps(torch.stack(outputs)), *(layer.result() for layer in self.layers.values())

    def _step(self, time: int, outputs: list[Tensor]) -> _Step:
        agent, layers = self.agent, self.layers
        sensed = agent.sense(self.percepts[time], layers, lambda layer, e: layers[layer].send(e), agent.lowest_error)
        outputs.append(sensed.summed[-1].detach())
        if self.remember:  # from here on the leaves of a graph
            for value in (*sensed.summed, *sensed.activities[1:], *sensed.errors):
                value.requires_grad_()
        with torch.set_grad_enabled(self.remember):
            asked, _ = agent.changes(sensed, layers, {})
            changes = [_as_low_rank(change) for change, _ in asked]
        scale = self.scales[time]
        moments = [layer.write(change, scale) for layer, change in zip(layers.values(), changes, strict=True)]
        to_factors: list[Tensor] = []
        factors = [factor for change in changes for factor in _factors(change) if factor.requires_grad]
        with torch.set_grad_enabled(self.remember):
            end = _Factors.run(to_factors, *factors) if factors else None
        return _Step(sensed, changes, moments, self.labelled[time], scale, end, to_factors)

    def run_back(self, to_outputs: Tensor | None) -> list[Tensor | None]:
        """Gradients of the weights at first and of the rule's parameters, from those of outputs and last weights."""
        first, count = self.layers["1"], len(self.percepts.features)
        to_each = [None] * count if to_outputs is None else list(first.private_steps(to_outputs).unbind())
        totals = [torch.zeros_like(x) for x in self.parameters]
        for steps, pairs in reversed(self.chunks):
            for index, layer in enumerate(self.layers.values()):
                layer.open(pairs[index], any(x.pre.requires_grad for step in steps for x in step.changes[index].pairs))
            for step in reversed(steps):
                for total, gradient in zip(totals, self._step_back(step, to_each.pop()), strict=True):
                    if gradient is not None:
                        total += gradient
            for layer in self.layers.values():
                layer.gradient.fold()
        left = iter(totals)
        to_weights: list[Tensor | None] = [layer.birth_gradient() for layer in self.layers.values()]
        return to_weights + [next(left) if wanted else None for wanted in self.wanted]

    def _step_back(self, step: _Step, to_output: Tensor | None) -> list[Tensor | None]:
        """Go back one step: the gradients of the rule's parameters."""
        sensed = step.sensed
        for layer, change, moment in zip(self.layers.values(), step.changes, step.moments, strict=True):
            step.to_factors += layer.unwrite(change, moment, step.scale)
        leaves = [*sensed.summed, *sensed.activities[1:], *sensed.errors, *self.parameters]
        found: list[Tensor | None] = [None] * len(leaves)
        if step.end is not None:
            found = list(torch.autograd.grad(step.end, leaves, retain_graph=True, allow_unused=True))
        step.to_factors.clear()
        n_layers, n_parameters = len(self.layers), len(self.parameters)
        to_summed, to_activities = found[:n_layers], found[n_layers : 2 * n_layers]
        to_errors = found[2 * n_layers : len(leaves) - n_parameters]
        to_summed[-1] = _plus(to_summed[-1], to_output)
        self._through_errors(step, to_errors, to_summed, to_activities)
        self._through_activities(sensed, to_activities, to_summed)
        return found[len(leaves) - n_parameters :]

    def _through_errors(
        self,
        step: _Step,
        to_errors: list[Tensor | None],
        to_summed: list[Tensor | None],
        to_activities: list[Tensor | None],
    ) -> None:
        """From e_lowest up to e_L = y_L · labelled − label; adds to the last two lists."""
        beta, lowest = self.agent.options.beta, self.agent.lowest_error
        layers = list(self.layers.values())
        for index, (error, slope) in enumerate(zip(step.sensed.errors, step.sensed.slopes, strict=False)):
            gradient, below = to_errors[index], lowest + index
            if gradient is None:
                continue
            sent = gradient * slope
            if below:  # (β e_l (1 − s_l)) ∘ gradient; the features' slope is constant
                bent = gradient.sub_(sent).mul_(error)
                start = to_summed[below - 1]
                to_summed[below - 1] = bent.mul_(beta) if start is None else start.add(bent, alpha=beta)
            to_errors[index + 1] = _plus(to_errors[index + 1], layers[below].unsend(sent))
        if (gradient := to_errors[-1]) is not None:
            to_activities[-1] = _plus(to_activities[-1], gradient * step.labelled)

    def _through_activities(
        self, sensed: Sensed, to_activities: list[Tensor | None], to_summed: list[Tensor | None]
    ) -> None:
        """From y_L down to z_1, with what the products add to the gradient of the weights."""
        beta = self.agent.options.beta
        layers = list(self.layers.values())
        for index in reversed(range(len(layers))):
            gradient, summed, activity = to_activities[index], sensed.summed[index], sensed.activities[index + 1]
            if gradient is not None:
                if index == len(layers) - 1:
                    weighted = gradient * activity
                    gradient = torch.addcmul(weighted, activity, weighted.sum(-1, keepdim=True), value=-1)
                else:  # 1 where softplus is the identity
                    gradient = torch.ops.aten.softplus_backward(gradient, summed, beta, 20)
            gradient = _plus(gradient, to_summed[index])
            if gradient is None:
                continue
            layers[index].add_gradient(sensed.activities[index], gradient, summed, gradient)
            if index:
                to_activities[index - 1] = _plus(to_activities[index - 1], layers[index].read_constant(gradient))


class _Factors(Node):
    """The end of a step's graph, into which the gradients of the changes' factors go at once: a zero.

    Autograd checks gradients that are handed to it one by one in Python, which would take longer than all the rest.
    """

    @staticmethod
    def forward(ctx: Any, gradients: list[Tensor], *factors: Tensor) -> Tensor:
        ctx.gradients = gradients
        return factors[0].new_zeros(())

    @staticmethod
    @first_order
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, ...]:
        return None, *ctx.gradients


def _factors(change: LowRank) -> list[Tensor]:
    """Pre sides, post sides and decay, in the order of `FeedbackLayer.unwrite`."""
    decay = [] if change.decay is None else [change.decay]
    return [pair.pre for pair in change.pairs] + [pair.post for pair in change.pairs] + decay


def _as_low_rank(change: Change) -> LowRank:
    change = LowRank((change,)) if isinstance(change, RankOne) else change
    assert isinstance(change, LowRank)
    return change


def _plus(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second
