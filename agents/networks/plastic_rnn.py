"""Miconi's recurrent networks: differentiable plasticity of one recurrent matrix, with neuromodulation if asked."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from agents.agent import State
from agents.fast_weights.base import apply_layer
from agents.fast_weights.lifetime_gradient import Lived, Ways, attach
from agents.fast_weights.rollout_weights import RolloutWeights
from agents.layers import PlasticLinear, with_ones
from agents.networks.activity import Activity
from agents.networks.fast_network import FastWeightNetwork
from agents.networks.modulation import StepRates, squash
from agents.networks.options import PlasticRNNOptions
from agents.rules import Rule
from agents.rules.hebbian import HebbProduct
from plastic_envs.utils.checks import check_int, check_memory


class PlasticRNN(FastWeightNetwork):
    """h' = tanh(drive + h (W + Λ∘F)), with pre = h and post = h' for the rule that changes F.

    With `input="linear"` the drive is x W_in + b_in and the outputs are h' W_out + b_out. With "add" the drive is x
    itself, and with "clamp" h' is x wherever x is not 0; then the outputs are the first K units of h'. The modulator,
    if there is one, is M of h' w_m + b_m, and acts within its own step; unless it is retroactive it takes the place of
    the rule's η.

    Sources: Miconi, Clune and Stanley 2018, "Differentiable plasticity: training plastic neural networks with
    backpropagation", sections 3 and 4; Miconi et al. 2019, "Backpropamine: training self-modifying neural networks with
    differentiable neuromodulated plasticity", section 3.

    Raises:
        UsageError: there are fewer units than numbers to be added or clamped, or than outputs to be read off.
    """

    offers = frozenset({"pre", "post", "summed", "weight", "fast", "reward", "modulator"})
    keeps_trace = True
    Options = PlasticRNNOptions

    def __init__(
        self,
        observation_size: int,
        output_size: int,
        *,
        rule: Rule,
        options: PlasticRNNOptions,
        seed: int,
        image_shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(observation_size, output_size, rule=rule, options=options, seed=seed, image_shape=image_shape)
        self.options: PlasticRNNOptions = options
        linear = options.input == "linear"
        units = options.units(self.perceived)
        if not linear:
            check_int(f"hidden (with input={options.input})", units, low=max(self.perceived, output_size))
        self.units = units
        check_memory(f"hidden={units} makes {units * units:,} weights", 8e-9 * units * units, "take fewer units")
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            value = torch.rand(shape, generator=generator) if linear else torch.randn(shape, generator=generator)
            return value * options.scale

        def layer(inputs: int, outputs: int) -> PlasticLinear:
            scale = 1 / math.sqrt(inputs)
            return PlasticLinear.drawn(inputs, outputs, biases=1, scale=scale, generator=generator)

        shape = (1, 1) if options.plasticity == "shared" else (units, units)
        weight, plasticity = draw(units, units), draw(*shape) if self.plastic else None
        self.recurrent = PlasticLinear(weight, plasticity)
        self.encode = layer(self.perceived, units) if linear else None
        self.decode = layer(units, output_size) if linear else None
        self.add_modulation(generator, readout_of=units)

    @classmethod
    def rule_arguments(cls, observation_size: int, output_size: int, options: PlasticRNNOptions) -> dict[str, Any]:
        """Also the shape of the recurrent matrix."""
        units = options.units(observation_size)
        return super().rule_arguments(observation_size, output_size, options) | {"shapes": ((units, units),)}

    def layers(self) -> dict[str, PlasticLinear]:
        """The recurrent matrix."""
        return {"recurrent": self.recurrent}

    def initial_state(
        self,
        batch_shape: tuple[int, ...],
        birth: Mapping[str, Tensor] | None = None,
        steps: int | None = None,
        unscored: int = 0,
    ) -> State:
        """All activity and all fast weights zero."""
        zeros = self.recurrent.weight.new_zeros(*batch_shape, self.units)
        return {"hidden": zeros, **self.newborn_fast(batch_shape, steps)}

    def recordable(self) -> tuple[str, ...]:
        """Activity, modulation and fast weights."""
        return ("hidden", *self.recordable_fast())

    def live(self, percept: Tensor, state: State, record: dict[str, Tensor] | None = None) -> tuple[Tensor, State]:
        """Live one step: observation (..., B, D) to output (..., B, K); then one change of the fast weights."""
        before = state["hidden"]  # (..., B, N)
        fast = self.open_fast(state)
        summed = apply_layer("recurrent", self.recurrent, fast, before)
        prune = isinstance(fast, RolloutWeights) and fast.skips_repeats
        drive = self._drive(percept)
        hidden = self._activate(drive, summed, prune=prune)
        new: State = {"hidden": hidden}
        if fast is not None:
            activities = {"recurrent": Activity(before, drive + summed if self.reads_summed else summed, hidden)}
            modulator, reward = self.modulate(hidden), self.observed_reward(percept)
            new |= self.apply_rule(fast, state, activities, modulator=modulator, reward=reward, record=record)
        if record is not None:
            record["hidden"] = hidden
        return self._answer(hidden), new

    def attaches_gradient(self) -> bool:
        """If compiled passes change the fast weights, by Hebb's product alone; a subclass may do something else."""
        options, rule = self.options, self.rule
        hebb = type(self) is PlasticRNN and self.plastic and type(rule).change is HebbProduct.change
        hebb = hebb and type(rule).update is Rule.update
        return hebb and options.max_norm is None and not options.fan_out and self._fuses()

    def attach_gradient(self, percepts: Tensor, hidden: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """By one compiled pass an episode: see `lifetime_gradient`."""
        drive = self._drive(percepts.flatten(-3, -2))  # (..., T·B, N)
        drive = drive.view(*drive.shape[:-2], *hidden.shape[-3:])
        closed = self.close_state(state)
        traces = closed.get("eligibility", {})
        lived = Lived(hidden, closed["fast"]["recurrent"], traces.get("recurrent"))
        held = drive != 0 if self.options.input == "clamp" else None
        ways = Ways(self._lived_rates, self.decays, self.rule.bound, held)
        readout = None if self.modulator is None else self.modulator.weight
        layer = self.recurrent
        assert layer.plasticity is not None
        lived = attach(lived, ways, drive, layer.weight, layer.plasticity, readout, self.rule.learning_rate())
        outputs = self._answer(lived.hidden.flatten(-3, -2)).view(*hidden.shape[:-1], -1)
        state = {"hidden": lived.hidden.select(-3, -1), "fast": {"recurrent": lived.fast}}
        return outputs, lived.hidden, state | {"eligibility": {"recurrent": lived.eligibility}} if traces else state

    def _lived_rates(self, raw: Tensor, eta: Tensor | None) -> StepRates:
        """The rates from the modulator's summed input (..., B) and the rule's learning rate."""
        return self._rates(squash(self.options.modulation, raw), eta)

    def _drive(self, observation: Tensor) -> Tensor:
        """What an observation (..., B, D) drives the units with (..., B, N)."""
        if self.encode is not None:
            return with_ones(observation, ones=1) @ self.encode.weight
        return torch.nn.functional.pad(observation, (0, self.units - self.perceived))

    def _answer(self, hidden: Tensor) -> Tensor:
        """The outputs (..., B, K) of an activity (..., B, N)."""
        if self.decode is not None:
            return with_ones(hidden, ones=1) @ self.decode.weight
        return hidden[..., : self.output_size]

    def _activate(self, drive: Tensor, summed: Tensor, *, prune: bool) -> Tensor:
        """The new activity from what drives the units and what they send each other, both (..., B, N).

        With `prune`, an activity with exactly zero derivatives by `summed` in all units does not depend on it at all.
        """
        if self.options.input == "clamp":
            return drive if prune and drive.all() else torch.where(drive != 0, drive, summed.tanh())
        hidden = (drive + summed).tanh()
        return hidden.detach() if prune and not (1 - hidden.square()).any() else hidden
