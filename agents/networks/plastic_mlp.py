"""A feedforward network with plastic layers under one modulator: plasticity without any other memory."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from agents.agent import State
from agents.fast_weights.base import apply_layer
from agents.layers import PlasticLinear
from agents.networks.activity import Activity
from agents.networks.fast_network import FastWeightNetwork
from agents.networks.options import PlasticMLPOptions
from agents.rules import Rule
from plastic_envs.utils.checks import check_memory


class PlasticMLP(FastWeightNetwork):
    """Layers x ← tanh(x (W + Λ∘F) + b) with pre = x and post = the new x; outputs are the last layer's before the tanh.

    The modulator M is read from the observation and all hidden activity, so that reward, where it is observed, can set
    it. With `retroactive` M gates the trace of what was done before the reward came: reward-modulated learning by three
    factors. Biases do not change in life.

    Sources: the mechanism is that of Miconi et al. 2019, "Backpropamine", section 3, on layers without recurrence;
    three factors: N. Frémaux and W. Gerstner 2016, "Neuromodulated spike-timing-dependent plasticity, and theory of
    three-factor learning rules", Frontiers in Neural Circuits 9:85.
    """

    offers = frozenset({"pre", "post", "summed", "weight", "fast", "reward", "modulator"})
    keeps_trace = True
    Options = PlasticMLPOptions

    def __init__(
        self,
        observation_size: int,
        output_size: int,
        *,
        rule: Rule,
        options: PlasticMLPOptions,
        seed: int,
        image_shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(observation_size, output_size, rule=rule, options=options, seed=seed, image_shape=image_shape)
        self.options: PlasticMLPOptions = options
        shapes = self.rule_arguments(self.perceived, output_size, options)["shapes"]
        n_weights = sum(n * m for n, m in shapes)
        check_memory(f"hidden={options.hidden} makes {n_weights:,} weights", 8e-9 * n_weights, "take fewer units")
        generator = torch.Generator().manual_seed(seed)
        made: dict[str, PlasticLinear] = {}
        for number, (inputs, outputs) in enumerate(shapes, 1):
            shape = (1, 1) if options.plasticity == "shared" else (inputs, outputs)
            weight = (2 * torch.rand(inputs, outputs, generator=generator) - 1) / math.sqrt(inputs)
            plasticity = torch.full(shape, options.scale) if self.plastic else None
            made[f"layer{number}"] = PlasticLinear(weight, plasticity)
        self.stack = nn.ModuleDict(made)
        self.biases = nn.ParameterList([torch.zeros(outputs) for _, outputs in shapes])
        self.add_modulation(generator, readout_of=self.perceived + options.hidden * options.hidden_layers)
        if self.modulator is not None:
            nn.init.zeros_(self.modulator.weight)  # nothing changes in life before a search finds what should change it

    @classmethod
    def rule_arguments(cls, observation_size: int, output_size: int, options: PlasticMLPOptions) -> dict[str, Any]:
        """Also the shapes of the layers."""
        sizes = (observation_size, *[options.hidden] * options.hidden_layers, output_size)
        shapes = tuple(itertools.pairwise(sizes))
        return super().rule_arguments(observation_size, output_size, options) | {"shapes": shapes}

    def layers(self) -> dict[str, PlasticLinear]:
        """All layers."""
        return {name: layer for name, layer in self.stack.items() if isinstance(layer, PlasticLinear)}

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
        """Activities of all layers and fast weights."""
        return (*self.layers(), *self.recordable_fast())

    def live(self, percept: Tensor, state: State, record: dict[str, Tensor] | None = None) -> tuple[Tensor, State]:
        """Live one step: observation (..., B, D) to output (..., B, K); then one change of the fast weights."""
        fast = self.open_fast(state)
        activity = percept
        if fast is not None:  # a population may see the same
            activity = activity.expand(*fast.batch_shape, -1)
        read = [activity]
        activities: dict[str, Activity] = {}
        for (name, layer), bias in zip(self.layers().items(), self.biases, strict=True):
            pre, summed = activity, apply_layer(name, layer, fast, activity) + bias.unsqueeze(-2)
            activity = summed.tanh()
            activities[name] = Activity(pre, summed, activity)
            read.append(activity)
        new: State = {}
        if fast is not None:
            raw = self.modulate(torch.cat(read[:-1], -1))
            reward = self.observed_reward(percept)
            new = self.apply_rule(fast, state, activities, modulator=raw, reward=reward, record=record)
        if record is not None:
            record |= {name: layer.post for name, layer in activities.items()}
        return summed, new
