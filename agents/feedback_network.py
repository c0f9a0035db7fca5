"""Rosenbaum's networks: a classifier whose errors travel back by random feedback, one labelled example at a time."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from agents.agent import Agent, State
from agents.dense_weights import LearningWeights
from agents.feedback_angles import angle
from agents.feedback_options import FeedbackOptions
from agents.feedback_state import close, open_weights, send, with_weights
from agents.percepts import Percepts
from agents.reversible_weights import KnownInputs, ReversibleWeights
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
                uniform = torch.rand(
                    batch_size, n, m, generator=generator, device=generator.device, dtype=self._dtype()
                )
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

        Without `birth` the weights are those that the agent's seed gives first. In a rollout by a low-rank rule they
        are changed in place, and the first layer's may be known by their products with the episode's inputs.

        Raises:
            UsageError: the weights, or what a backward pass remembers of them, need more memory than there is.
        """
        if birth is None:
            birth = self.draw_birth(batch_shape[-1], torch.Generator().manual_seed(self._seed))
        weights = {layer: birth[f"weight.{layer}"].expand(*batch_shape, -1, -1) for layer in self.shapes}
        feedback = {layer: birth[f"feedback.{layer}"] for layer in self.shapes if f"feedback.{layer}" in birth}
        low_rank = (self.rule.low_rank or self.rule.rank_one) and self.rule.bound is None
        reversible = steps is not None and self.plastic and low_rank
        copies = 2 if reversible or not torch.is_grad_enabled() else 2 * (steps or 1)
        n_weights = sum(n * m for n, m in self.shapes.values()) * math.prod(batch_shape)
        advice = "take fewer units, episodes or individuals" + ("" if reversible else ", or a low-rank rule")
        check_memory(f"{n_weights:,} weights are held {copies} times", 4e-9 * n_weights * copies, advice)
        if not reversible:
            return {"weights": weights, "feedback": feedback}
        held = {layer: ReversibleWeights(birth[f"weight.{layer}"], batch_shape) for layer in self.shapes}
        return {"weights": held, "feedback": feedback, "steps": steps}

    def perceive(self, observations: Tensor, state: State) -> Percepts:
        """Cut observations (S, B, D) into features and labels; what follows them is not used.

        If they are all that a rollout will show and fewer than features, the first layer is kept by its products.
        """
        features, labels, _ = observations.tensor_split((self.features, self.features + self.output_size), -1)
        if state.get("steps") == len(observations) < self.features and self._first_layer_by_products():
            first: ReversibleWeights = state["weights"]["1"]
            state["weights"]["1"] = KnownInputs(observations, self.features, first, dict(self.named_parameters()))
        return Percepts(features, labels)

    def _first_layer_by_products(self) -> bool:
        """Whether the rule allows it, and no error is sent back through the first layer's own weights."""
        reaches_features = self.options.feedback == "symmetric" and "pre_error" in self.rule.needs
        return self.rule.linear_in_pre and not reaches_features

    def live(self, percept: Percepts, state: State, record: dict[str, Tensor] | None = None) -> tuple[Tensor, State]:
        """Live one step: outputs (..., B, K), the summed inputs of the softmax; then one change of the weights."""
        weights = open_weights(state, self.rule.bound)
        summed: list[Tensor] = []
        activities = [percept.features]
        for layer, weight in weights.items():
            summed.append(weight.read(activities[-1]))
            activities.append(self.activity(layer, summed[-1]))
        labelled = percept.labelled  # (..., B, 1)
        error = activities[-1] * labelled - percept.labels
        needs_all = record is not None or "pre_error" in self.rule.needs
        to_below = partial(send, weights, state["feedback"])
        errors = self.send_back(error, percept.features, summed, to_below, lowest=0 if needs_all else 1)
        if record is not None:
            backpropagated = self.send_back(error, percept.features, summed, partial(send, weights, {}))
            record |= {f"activity.{number}": value for number, value in enumerate(activities[1:], 1)}
            record |= {f"error.{number}": value for number, value in enumerate(errors)}
            for below, (ours, theirs) in enumerate(zip(errors[1:-1], backpropagated, strict=False), 1):
                record[f"angle.{below}"] = angle(ours, theirs)
        first = weights["1"]
        if isinstance(first, KnownInputs):  # from here on this layer's pre side is seen by its products
            activities[0] = first.pre
            errors = [first.project(errors[0]), *errors[1:]] if len(errors) == len(activities) else errors
        if self.plastic:
            self._learn(summed, activities, errors, weights, labelled.squeeze(-1))
        return summed[-1], with_weights(state, weights)

    def answer(self, percepts: Percepts, state: State) -> Tensor:
        """Answer observations without labels from one state: outputs (..., S, B, K)."""
        activity = summed = percepts.features.transpose(0, 1)  # (B, S, F)
        for layer, weight in open_weights(state, self.rule.bound).items():
            summed = weight.read_many(activity)
            activity = self.activity(layer, summed)
        return summed.transpose(-3, -2)

    def activity(self, layer: str, summed: Tensor) -> Tensor:
        """A layer's activity: softplus, and for the last softmax."""
        last = int(layer) == len(self.shapes)
        return summed.softmax(-1) if last else functional.softplus(summed, self.options.beta)

    def send_back(
        self,
        error: Tensor,
        features: Tensor,
        summed: list[Tensor],
        send: Callable[[str, Tensor], Tensor],
        lowest: int = 1,
    ) -> list[Tensor]:
        """Errors e_lowest … e_L, from the last layer's.

        Args:
            error: e_L.
            features: y_0.
            summed: z_1 … z_L.
            send: From a layer and the error of its units to that of its inputs, before their slope.
            lowest: 0 for the features' too.
        """
        beta, errors = self.options.beta, [error]
        for below in range(len(self.shapes) - 1, lowest - 1, -1):
            # 1 − exp(−β y), which for a softplus of z is σ(β z)
            slope = (summed[below - 1] * beta).sigmoid() if below else -torch.expm1(-beta * features)
            errors.insert(0, send(str(below + 1), errors[0]) * slope)
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

    def close_state(self, state: State) -> State:
        """Weights as one matrix per layer and episode, without a way back for gradients."""
        return close(self, state)

    def _learn(
        self,
        summed: list[Tensor],
        activities: list[Tensor],
        errors: list[Tensor],
        weights: Mapping[str, LearningWeights],
        labelled: Tensor,
    ) -> None:
        """Ask the rule for the change of each layer, from the weights before any change; then write all."""
        needs = self.rule.needs
        rate = labelled if self.rule.learning_rate() is not None else self.options.rate * labelled
        errors = [errors[0]] * (len(activities) - len(errors)) + errors  # nobody reads e_0 where it is missing
        changes: list[tuple[LearningWeights, Outer | LowRank | Tensor, Signals]] = []
        for index, weight in enumerate(weights.values()):
            signals = Signals(
                activities[index],
                activities[index + 1],
                errors[index + 1] if "error" in needs else None,
                errors[index] if "pre_error" in needs else None,
                summed[index],
                index,
                read_weight=weight.matrix if "weight" in needs or self.rule.decay == "rate" else None,
                read_fast=weight.matrix if "fast" in needs else None,
                read_back=weight.read_back if "weight" in needs else None,
            )
            change = self.rule.change(signals)
            check_change(self.rule, change, signals)
            changes.append((weight, self._timed(weight, change), signals))
        for weight, change, signals in changes:
            weight.write(change, signals, rate)

    def _timed(self, weight: LearningWeights, change: Outer | LowRank | Tensor) -> Outer | LowRank | Tensor:
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
