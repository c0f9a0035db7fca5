"""Rosenbaum's networks: a classifier whose errors travel back by random feedback, one labelled example at a time."""

import math
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from agents.agent import Agent, State
from agents.dense_weights import DenseWeights, LearningWeights
from agents.feedback_angles import angle
from agents.feedback_lifetime import live_by_pairs
from agents.feedback_options import FeedbackOptions
from agents.feedback_step import Change, Send, Sensed, send
from agents.percepts import Percepts
from agents.rules import LowRank, Outer, Rule, Signals
from agents.rules.base import check_change
from plastic_envs.checks import check_memory


class FeedbackNetwork(Agent):
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

    offers = frozenset({"pre", "post", "error", "pre_error", "weight", "fast"})
    Options = FeedbackOptions
    learns_from_labels = True

    def __init__(
        self,
        observation_size: int,
        output_size: int,
        *,
        rule: Rule,
        options: FeedbackOptions,
        features: int,
        seed: int,
    ) -> None:
        super().__init__(observation_size, output_size, rule=rule, seed=seed)
        self.options, self.features = options, features
        self.plastic = bool(rule.needs)
        self.batched = rule.batched
        shapes = self.rule_arguments(features, output_size, options)["shapes"]
        self.shapes = {str(layer): shape for layer, shape in enumerate(shapes, 1)}
        """Inputs and units (n, m) of each layer."""

    @classmethod
    def rule_arguments(cls, observation_size: int, output_size: int, options: FeedbackOptions) -> dict[str, Any]:
        """Inputs and units (n, m) of each layer."""
        return {"shapes": tuple(pairwise((observation_size, *options.sizes, output_size)))}

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
        return {"weights": weights, "feedback": feedback}

    def _learns_by_pairs(self) -> bool:
        return self.plastic and (self.rule.low_rank or self.rule.rank_one) and self.rule.bound is None

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
            changes = self.changes(sensed, weights)  # from the weights before any change
            for weight, (change, signals) in zip(weights.values(), changes, strict=True):
                weight.write(change, signals, self.rate(percept.labelled.squeeze(-1)))
        return sensed.summed[-1], state | {"weights": {layer: weight.matrix() for layer, weight in weights.items()}}

    def learn(self, percepts: Percepts, state: State, scored: bool = False) -> tuple[Tensor, State] | None:
        """Live many steps by a low-rank rule without a matrix for each; None for other rules."""
        if not self._learns_by_pairs():
            return None
        outputs, weights = live_by_pairs(self, percepts, state)
        return outputs, state | {"weights": weights}

    def sense(self, percept: Percepts, weights: Mapping[str, LearningWeights], send: Send, lowest: int) -> Sensed:
        """Activities and, from e_lowest on, errors of one step."""
        summed: list[Tensor] = []
        activities = [percept.features]
        for layer, weight in weights.items():
            summed.append(weight.read(activities[-1]))
            activities.append(self.activity(layer, summed[-1]))
        slopes = self.slopes(percept.features, summed, lowest)
        error = activities[-1] * percept.labelled - percept.labels
        return Sensed(summed, activities, slopes, self.send_back(error, slopes, send))

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

    def activity(self, layer: str, summed: Tensor) -> Tensor:
        """A layer's activity: softplus, and for the last softmax."""
        last = int(layer) == len(self.shapes)
        return summed.softmax(-1) if last else functional.softplus(summed, self.options.beta)

    def slopes(self, features: Tensor, summed: list[Tensor], lowest: int = 1) -> list[Tensor]:
        """1 − exp(−β y) for y_lowest … y_{L−1}, which for a softplus of z is its derivative σ(β z)."""
        beta = self.options.beta
        of_features = [-torch.expm1(-beta * features)] if lowest == 0 else []
        return of_features + [(z * beta).sigmoid() for z in summed[:-1]]

    def send_back(self, error: Tensor, slopes: list[Tensor], send: Send) -> list[Tensor]:
        """Errors from the lowest layer with a slope up to the last, whose error is given.

        Args:
            error: e_L.
            slopes: Those of the layers below the last, as far down as errors are wanted.
            send: From a layer and the error of its units to that of its inputs, before their slope.
        """
        errors = [error]
        for layer, slope in zip(range(len(self.shapes), 0, -1), reversed(slopes), strict=False):
            errors.insert(0, send(str(layer), errors[0]) * slope)
        return errors

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

    @property
    def lowest_error(self) -> int:
        """The layer of the lowest error that the rule needs: 0 for the features'."""
        return 0 if "pre_error" in self.rule.needs else 1

    def rate(self, labelled: Tensor) -> Tensor:
        """What changes are multiplied with: nothing where there is no label."""
        return labelled if self.rule.learning_rate() is not None else self.options.rate * labelled

    def changes(self, sensed: Sensed, weights: Mapping[str, LearningWeights]) -> list[tuple[Change, Signals]]:
        """Ask the rule for the change of each layer; and what it was asked with."""
        needs, rule = self.rule.needs, self.rule
        missing = len(sensed.activities) - len(sensed.errors)  # e_0, where the rule does not need it
        errors = [sensed.errors[0]] * missing + sensed.errors
        changes: list[tuple[Change, Signals]] = []
        for index, weight in enumerate(weights.values()):
            signals = Signals(
                sensed.activities[index],
                sensed.activities[index + 1],
                errors[index + 1] if "error" in needs else None,
                errors[index] if "pre_error" in needs else None,
                sensed.summed[index],
                index,
                read_weight=weight.matrix if "weight" in needs or rule.decay == "rate" else None,
                read_fast=weight.matrix if "fast" in needs else None,
                read_back=weight.read_back if "weight" in needs else None,
            )
            change = rule.change(signals)
            check_change(rule, change, signals)
            changes.append((self._timed(weight, change), signals))
        return changes

    def _timed(self, weight: LearningWeights, change: Change) -> Change:
        """The change times the rule's own learning rate η, less η·W if the rule lets its weights fade at that rate.

        Here and not in `write`, as a gradient goes back to η.
        """
        own, fades = self.rule.learning_rate(), self.rule.decay == "rate"
        if own is None:
            return change
        if isinstance(change, Tensor):
            return own[..., None, None, None] * (change - weight.matrix() if fades else change)
        pairs = change.pairs if isinstance(change, LowRank) else (change,)
        scaled = tuple(Outer(pair.pre, pair.post * own[..., None, None]) for pair in pairs)
        lost = change.decay if isinstance(change, LowRank) else None
        if fades:
            lost = torch.ones((), dtype=own.dtype, device=own.device)
        return LowRank(scaled, None if lost is None else lost * own.unsqueeze(-1))
