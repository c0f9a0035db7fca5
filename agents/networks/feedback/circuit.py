"""One step of a feedback network, whatever keeps its weights: activities forwards, errors backwards, changes."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from agents.agent import Agent
from agents.fast_weights.dense import LearningWeights
from agents.networks.feedback.options import FeedbackOptions
from agents.networks.feedback.step import Change, Send, Sensed
from agents.percepts import Percepts
from agents.rules import LowRank, RankOne, Rule, Signals
from agents.rules.base import updated


class FeedbackCircuit(Agent):
    """What the single steps of a `FeedbackNetwork` and the lifetimes that are lived as a whole have in common."""

    Options = FeedbackOptions

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

    def sense(self, percept: Percepts, weights: Mapping[str, LearningWeights], send: Send, lowest: int) -> Sensed:
        """Activities and, from e_lowest on, errors of one step."""
        summed: list[Tensor] = []
        activities = [percept.features]
        for layer, weight in weights.items():
            summed.append(weight.read(activities[-1]))
            activities.append(self.activity(layer, summed[-1]))
        slopes = self.slopes(percept.features, summed, lowest)
        error = activities[-1] * percept.labelled - percept.labels
        return Sensed(summed, activities, slopes, self.errors_backward(error, slopes, send))

    def activity(self, layer: str, summed: Tensor) -> Tensor:
        """A layer's activity: softplus, and for the last softmax."""
        last = int(layer) == len(self.shapes)
        return summed.softmax(-1) if last else functional.softplus(summed, self.options.beta)

    def slopes(self, features: Tensor, summed: list[Tensor], lowest: int = 1) -> list[Tensor]:
        """1 − exp(−β y) for y_lowest … y_{L−1}, which for a softplus of z is its derivative σ(β z).

        Features below 0, which no softplus gives and the formula blows up, count as 0 there: their slope is 0.
        """
        beta = self.options.beta
        of_features = [-torch.expm1(-beta * features.clamp(min=0))] if lowest == 0 else []
        return of_features + [(z * beta).sigmoid() for z in summed[:-1]]

    def errors_backward(self, error: Tensor, slopes: list[Tensor], send: Send) -> list[Tensor]:
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

    @property
    def lowest_error(self) -> int:
        """The layer of the lowest error that the rule needs: 0 for the features'."""
        return 0 if "pre_error" in self.rule.needs else 1

    def rate(self, labelled: Tensor) -> Tensor:
        """What changes are multiplied with: nothing where there is no label."""
        return labelled if self.rule.learning_rate() is not None else self.options.rate * labelled

    def changes(
        self,
        sensed: Sensed,
        weights: Mapping[str, LearningWeights],
        traces: Mapping[str, Mapping[str, Tensor]],
    ) -> tuple[list[tuple[Change, Signals]], dict[str, Mapping[str, Tensor]]]:
        """Ask the rule for the change of each layer: what it was asked with, and its new traces if it keeps any."""
        needs, rule = self.rule.needs, self.rule
        missing = len(sensed.activities) - len(sensed.errors)  # e_0, where the rule does not need it
        errors = [sensed.errors[0]] * missing + sensed.errors
        changes: list[tuple[Change, Signals]] = []
        kept: dict[str, Mapping[str, Tensor]] = {}
        for index, (layer, weight) in enumerate(weights.items()):
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
            change, new = updated(rule, signals, traces[layer] if rule.traces else {})
            changes.append((self._timed(weight, change), signals))
            if new:
                kept[layer] = new
        return changes, kept

    def _timed(self, weight: LearningWeights, change: Change) -> Change:
        """The change times the rule's own learning rate η, less η·W if the rule lets its weights fade at that rate.

        Here and not in `write`, as a gradient goes back to η.
        """
        own, decays = self.rule.learning_rate(), self.rule.decay == "rate"
        if own is None:
            return change
        if isinstance(change, Tensor):
            return own[..., None, None, None] * (change - weight.matrix() if decays else change)
        pairs = change.pairs if isinstance(change, LowRank) else (change,)
        scaled = tuple(RankOne(pair.pre, pair.post * own[..., None, None]) for pair in pairs)
        lost = change.decay if isinstance(change, LowRank) else None
        if decays:
            lost = torch.ones((), dtype=own.dtype, device=own.device)
        return LowRank(scaled, None if lost is None else lost * own.unsqueeze(-1))
