"""Miconi's one-shot classifier: one plastic layer from features to classes, which is told the label."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from agents.agent import State
from agents.fast_weights.base import apply_layer
from agents.layers import PlasticLinear
from agents.networks.activity import Activity
from agents.networks.fast_network import FastWeightNetwork
from agents.networks.options import PlasticHeadOptions
from agents.rules import Rule
from plastic_envs.utils.errors import UsageError


class PlasticHead(FastWeightNetwork):
    """Logits φ (W + Λ∘F) + gain · label, with pre = φ, the features, and post = the softmax of the logits.

    The label is the last K numbers of an observation, one-hot or, where the answer is asked for, all zero. Its gain is
    so large that the softmax saturates: F stores the features under the label.

    Source: Miconi, Clune and Stanley 2018, "Differentiable plasticity: training plastic neural networks with
    backpropagation", section 4.4.

    Raises:
        UsageError: an observation has not more numbers than the label.
    """

    offers = frozenset({"pre", "post", "summed", "weight", "fast", "reward", "modulator"})
    keeps_trace = True
    Options = PlasticHeadOptions

    def __init__(
        self,
        observation_size: int,
        output_size: int,
        *,
        rule: Rule,
        options: PlasticHeadOptions,
        seed: int,
        image_shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(observation_size, output_size, rule=rule, options=options, seed=seed, image_shape=image_shape)
        self.options: PlasticHeadOptions = options
        features = self.perceived - output_size
        if features < 1:
            raise UsageError(
                f"output_size={output_size}: of {self.perceived} observed numbers, a label leaves none to see"
            )
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(features, output_size, generator=generator) * options.scale
        shape = (1, 1) if options.plasticity == "shared" else (features, output_size)
        plasticity = torch.rand(shape, generator=generator) * options.scale if self.plastic else None
        self.head = PlasticLinear(weight, plasticity)
        self.add_modulation(generator, readout_of=output_size)

    @classmethod
    def rule_arguments(cls, observation_size: int, output_size: int, options: PlasticHeadOptions) -> dict[str, Any]:
        """Also the shape of the only layer."""
        shapes = ((observation_size - output_size, output_size),)
        return super().rule_arguments(observation_size, output_size, options) | {"shapes": shapes}

    def layers(self) -> dict[str, PlasticLinear]:
        """The only layer."""
        return {"head": self.head}

    def initial_state(
        self,
        batch_shape: tuple[int, ...],
        birth: Mapping[str, Tensor] | None = None,
        steps: int | None = None,
        unscored: int = 0,
    ) -> State:
        """All fast weights zero."""
        return self.newborn_fast(batch_shape, steps)

    def recordable(self) -> tuple[str, ...]:
        """Features, probabilities and fast weights."""
        return ("features", "probabilities", *self.recordable_fast())

    def live(self, percept: Tensor, state: State, record: dict[str, Tensor] | None = None) -> tuple[Tensor, State]:
        """Live one step: observation (..., B, D) to logits (..., B, K); then one change of the fast weights."""
        features, label = percept.tensor_split((self.head.inputs,), -1)
        fast = self.open_fast(state)
        if fast is not None:  # a population sees the same
            features = features.expand(*fast.batch_shape, -1)
        logits = apply_layer("head", self.head, fast, features) + self.options.label_gain * label
        probabilities = logits.softmax(-1)
        new: State = {}
        if fast is not None:
            activities = {"head": Activity(features, logits, probabilities)}
            modulator, reward = self.modulate(probabilities), self.observed_reward(percept)
            new = self.apply_rule(fast, state, activities, modulator=modulator, reward=reward, record=record)
        if record is not None:
            record |= {"features": features, "probabilities": probabilities}
        return logits, new
