"""A network of your own: a gated recurrent unit whose candidate activity has plastic recurrent weights.

Use it without touching the package:
plastic-envs train CueReward --network examples.custom_network:PlasticGRU --rule oja --budget 100000 --out runs/gru
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agents import Rule, State
from agents.fast_weights.base import apply_layer
from agents.layers import PlasticLinear, with_ones
from agents.networks.activity import Activity
from agents.networks.fast_network import FastWeightNetwork
from agents.networks.options import PlasticityOptions


@dataclass(frozen=True)
class GRUOptions(PlasticityOptions):
    """What a rule and a modulator may be told, and the sizes.

    Attributes:
        hidden: Units N.
    """

    hidden: int = 32


class PlasticGRU(FastWeightNetwork):
    """h' = (1 − z)∘h + z∘c with c = tanh(x W_x + (r∘h) (W + Λ∘F)); the rule changes F by pre = r∘h and post = c."""

    offers = frozenset({"pre", "post", "summed", "weight", "fast", "reward", "modulator"})
    Options = GRUOptions

    def __init__(
        self, observation_size: int, output_size: int, *, rule: Rule, options: GRUOptions, seed: int, **front_end: Any
    ) -> None:
        super().__init__(observation_size, output_size, rule=rule, options=options, seed=seed, **front_end)
        generator, self.units = torch.Generator().manual_seed(seed), options.hidden
        scale = self.units**-0.5

        def layer(inputs: int, outputs: int, **how: Any) -> PlasticLinear:
            return PlasticLinear.drawn(inputs, outputs, scale=scale, generator=generator, **how)

        self.drive = layer(self.perceived, 3 * self.units, biases=1)  # of z, r and c
        self.gates = layer(self.units, 2 * self.units, biases=0)
        self.recurrent = layer(self.units, self.units, biases=0, plasticity="random" if self.plastic else None)
        self.decode = layer(self.units, output_size, biases=1)
        self.add_modulation(generator, readout_of=self.units)

    def layers(self) -> dict[str, PlasticLinear]:
        """The plastic layers by name."""
        return {"recurrent": self.recurrent}

    def initial_state(
        self, batch_shape: tuple[int, ...], birth: Any = None, steps: Any = None, unscored: int = 0
    ) -> State:
        """Activity and fast weights zero; a state is a dict of tensors that begin with the batch's dimensions."""
        return {"hidden": torch.zeros(*batch_shape, self.units), **self.newborn_fast(batch_shape, steps)}

    def live(self, percept: Tensor, state: State, record: dict[str, Tensor] | None = None) -> tuple[Tensor, State]:
        """One step: what is observed (..., B, D) and a state, to outputs (..., B, K) and the state after it."""
        before, fast = state["hidden"], self.open_fast(state)
        drive = with_ones(percept, ones=1) @ self.drive.weight
        of_gates, of_candidate = drive.tensor_split((2 * self.units,), -1)
        update, reset = (of_gates + before @ self.gates.weight).sigmoid().chunk(2, -1)
        pre = reset * before
        summed = of_candidate + apply_layer("recurrent", self.recurrent, fast, pre)
        post = summed.tanh()
        hidden = (1 - update) * before + update * post
        new: State = {"hidden": hidden}
        if fast is not None:  # the rule may be "none"
            done = {"recurrent": Activity(pre, summed, post)}
            reward = self.observed_reward(percept)
            new |= self.apply_rule(fast, state, done, modulator=self.modulate(hidden), reward=reward, record=record)
        return with_ones(hidden, ones=1) @ self.decode.weight, new
