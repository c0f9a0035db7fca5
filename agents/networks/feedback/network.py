"""Rosenbaum's networks: a classifier whose errors travel back by random feedback, one labelled example at a time."""

import math
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from agents.agent import State
from agents.fast_weights.dense import DenseWeights, LearningWeights
from agents.networks.feedback.angles import angle
from agents.networks.feedback.circuit import FeedbackCircuit
from agents.networks.feedback.lifetime import live_by_pairs
from agents.networks.feedback.step import Sensed, send
from agents.percepts import Percepts
from agents.rules.base import born_traces
from plastic_envs.utils.checks import check_memory


class FeedbackNetwork(FeedbackCircuit):
    """A feedforward classifier that answers first and then learns from the label, without biases.

    Softplus layers y_l = log(1 + exp(β z_l))/β of z_l = y_{l−1} W_l, the last a softmax, whose z are the outputs.
    Errors e_L = y_L − label and e_l = (e_{l+1} B_{l+1}ᵀ)∘(1 − exp(−β y_l)) down to the features, l = 0. Then all layers
    change at once by the rule, W_l ← W_l + rate · Δ_l. With term 1 of the pool of rules and random B this is feedback
    alignment, with B = W (not differentiated through) backpropagation. An observation whose label is all zero changes
    nothing. W and B are drawn at birth from U(−s, s), s = √(6/(n + m)); the rule's coefficients are all there is to
    search.

    Source: Shervani-Tabar and Rosenbaum, "Meta-learning biologically plausible plasticity rules with random feedback
    pathways", Nature Communications 2023.
    """

    offers = frozenset({"pre", "post", "summed", "error", "pre_error", "weight", "fast"})
    learns_from_labels = True

    def draw_birth(self, batch_size: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw weights and, unless it is symmetric, feedback (B, n, m) of each layer."""
        kinds = ("weight",) if self.options.feedback == "symmetric" else ("weight", "feedback")
        n_weights = sum(n * m for n, m in self.shapes.values()) * len(kinds) * batch_size
        check_memory(
            f"{batch_size} episodes draw {n_weights:,} weights", 4e-9 * n_weights, "take fewer units or episodes"
        )
        birth = {}
        for kind in kinds:
            for layer, (n, m) in self.shapes.items():
                uniform = torch.rand(batch_size, n, m, generator=generator, device=generator.device, dtype=self.dtype)
                birth[f"{kind}.{layer}"] = uniform.mul_(2).sub_(1).mul_(math.sqrt(6 / (n + m)))
        return birth

    def initial_state(
        self,
        batch_shape: tuple[int, ...],
        birth: Mapping[str, Tensor] | None = None,
        steps: int | None = None,
        unscored: int = 0,
    ) -> State:
        """Weights (..., B, n, m) as they were drawn, and the feedback (B, n, m), which a population shares.

        Without `birth` the weights are those that the agent's seed gives first.

        Raises:
            UsageError: the weights, or what a backward pass remembers of them, need more memory than there is.
        """
        if birth is None:
            birth = self.draw_birth(batch_shape[-1], torch.Generator().manual_seed(self._seed))
        copies = 3 if steps is not None and self._learns_by_pairs() else 2 * (steps or 1)
        copies = copies if torch.is_grad_enabled() else 2
        n_weights = sum(n * m for n, m in self.shapes.values()) * math.prod(batch_shape)
        advice = "take fewer units, episodes or individuals" + (", or a low-rank rule" if copies > 3 else "")
        check_memory(f"{n_weights:,} weights are held {copies} times", 4e-9 * n_weights * copies, advice)
        weights = {layer: birth[f"weight.{layer}"].expand(*batch_shape, -1, -1) for layer in self.shapes}
        feedback = {layer: birth[f"feedback.{layer}"] for layer in self.shapes if f"feedback.{layer}" in birth}
        like = next(iter(weights.values()))
        return {"weights": weights, "feedback": feedback, **born_traces(self.rule, self.shapes, batch_shape, like)}

    def _learns_by_pairs(self) -> bool:
        rule = self.rule
        return self.plastic and (rule.low_rank or rule.rank_one) and rule.bound is None and not rule.traces

    def perceive(self, observations: Tensor, state: State) -> Percepts:
        """Cut observations (S, B, D) into features and labels; what follows them is not used."""
        features, labels, _ = observations.tensor_split((self.features, self.features + self.output_size), -1)
        return Percepts(features, labels)

    def live(self, percept: Percepts, state: State, record: dict[str, Tensor] | None = None) -> tuple[Tensor, State]:
        """Live one step: outputs (..., B, K), the summed inputs of the softmax; then one change of the weights."""
        weights = {layer: DenseWeights(matrix, self.rule.bound) for layer, matrix in state["weights"].items()}
        lowest = 0 if record is not None else self.lowest_error
        sensed = self.sense(percept, weights, partial(send, weights, state["feedback"]), lowest)
        if record is not None:
            self._record(record, sensed, percept, weights)
        if self.plastic:
            changes, traces = self.changes(sensed, weights, state.get("traces", {}))  # from weights before any change
            state = state | _where_labelled(percept.labelled, traces, state)
            for weight, (change, signals) in zip(weights.values(), changes, strict=True):
                weight.write(change, signals, self.rate(percept.labelled.squeeze(-1)))
        return sensed.summed[-1], state | {"weights": {layer: weight.matrix() for layer, weight in weights.items()}}

    def learn(self, percepts: Percepts, state: State, scored: bool = False) -> tuple[Tensor, State] | None:
        """Live many steps by a low-rank rule without a matrix for each; None for other rules."""
        if not self._learns_by_pairs():
            return None
        outputs, weights = live_by_pairs(self, percepts, state)
        return outputs, state | {"weights": weights}

    def _record(
        self, record: dict[str, Tensor], sensed: Sensed, percept: Percepts, weights: Mapping[str, LearningWeights]
    ) -> None:
        backpropagated = self.sense(percept, weights, partial(send, weights, {}), lowest=0).errors
        record |= {f"activity.{number}": value for number, value in enumerate(sensed.activities[1:], 1)}
        record |= {f"error.{number}": value for number, value in enumerate(sensed.errors)}
        for below, (ours, theirs) in enumerate(zip(sensed.errors[1:-1], backpropagated[1:-1], strict=True), 1):
            record[f"angle.{below}"] = angle(ours, theirs)

    def answer(self, percepts: Percepts, state: State) -> Tensor:
        """Answer observations without labels from one state: outputs (..., S, B, K)."""
        activity = summed = percepts.features.transpose(0, 1)  # (B, S, F)
        for layer, weight in state["weights"].items():
            summed = activity @ weight
            activity = self.activity(layer, summed)
        return summed.transpose(-3, -2)

    def recordable(self) -> tuple[str, ...]:
        """Each layer's activity and error; in degrees, the angle between a hidden layer's error and backpropagation's.

        Angles are not a number where there is no label.
        """
        count = len(self.shapes)
        return (
            *(f"activity.{layer}" for layer in range(1, count + 1)),
            *(f"error.{layer}" for layer in range(count + 1)),
            *(f"angle.{layer}" for layer in range(1, count)),
        )


def _where_labelled(
    labelled: Tensor, traces: Mapping[str, Mapping[str, Tensor]], state: State
) -> dict[str, dict[str, dict[str, Tensor]]]:
    """The rule's traces after a step, as they were where there is no label (B, 1); nothing if it keeps none."""
    if not traces:
        return {}

    def chosen(new: Tensor, old: Tensor) -> Tensor:
        batch = state["weights"][next(iter(traces))].dim() - 2
        return new.where(labelled.bool().view(-1, *[1] * (new.dim() - batch)), old)

    return {
        "traces": {
            layer: {name: chosen(new, state["traces"][layer][name]) for name, new in layers.items()}
            for layer, layers in traces.items()
        }
    }
