"""Najarro's Hebbian MLPs: weights that are random at birth and change at every step by an evolved rule."""

import math
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from agents.agent import Agent, State
from agents.networks.activity import Activity
from agents.networks.hebbian_mlp_options import HebbianMLPOptions
from agents.rules import Rule, Signals
from agents.rules.base import born_traces, dense_change, updated
from plastic_envs.utils.checks import check_memory

UNIFORM, NORMAL = 0.1, 0.024
"""Half width of the one distribution of weights at birth, standard deviation of the other."""


class HebbianMLP(Agent):
    """Layers o_l = tanh(o_{l−1} W_l) without biases, of which the last is linear; all of each W_l is plastic.

    After every step all layers change at once, W_l ← W_l + Δ_l, and each is divided by the largest absolute value of
    its weights: these stay within ±1, whatever the rule. The change after an episode's last step has no effect.

    With `recurrent` the first hidden layer sees its own activity of the step before too: o_1 = tanh([o_0, o_1'] W_1).
    It is one matrix, so that the rule changes recurrent connections as it does all others, with the activity before the
    step as pre and the one after it as post; and it is the first layer, so that all others can use what it remembers.

    Source: Najarro and Risi 2020, "Meta-Learning through Hebbian Plasticity in Random Networks", sections 3 and 4.
    """

    offers = frozenset({"pre", "post", "summed", "weight", "fast", "reward"})
    Options = HebbianMLPOptions

    def __init__(
        self, observation_size: int, output_size: int, *, rule: Rule, options: HebbianMLPOptions, seed: int
    ) -> None:
        super().__init__(observation_size, output_size, rule=rule, seed=seed)
        self.options = options
        self.plastic = bool(rule.needs)
        self.batched = rule.batched
        shapes = self.rule_arguments(observation_size, output_size, options)["shapes"]
        self.shapes: dict[str, tuple[int, int]] = {str(layer): shape for layer, shape in enumerate(shapes, 1)}
        """Inputs and units (n, m) of each layer."""
        self._check_memory("the weights", 1)
        self.slow = nn.Module()
        """The weights at birth, unless they are redrawn."""
        if options.birth != "redrawn":
            generator = torch.Generator().manual_seed(seed)
            for layer, shape in self.shapes.items():
                value = self._draw(shape, generator)
                if options.birth == "coevolve":
                    self.slow.register_parameter(layer, nn.Parameter(value))
                else:
                    self.slow.register_buffer(layer, value)

    @classmethod
    def rule_arguments(cls, observation_size: int, output_size: int, options: HebbianMLPOptions) -> dict[str, Any]:
        """Inputs and units (n, m) of each layer."""
        shapes = list(pairwise((observation_size, *options.sizes, output_size)))
        if options.recurrent:
            shapes[0] = (observation_size + options.sizes[0], options.sizes[0])
        return {"shapes": tuple(shapes)}

    def draw_birth(self, batch_size: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the weights (B, n, m) of each layer, if they are redrawn."""
        if self.options.birth != "redrawn":
            return {}
        self._check_memory(f"the weights of {batch_size} episodes", batch_size)
        return {layer: self._draw((batch_size, *shape), generator) for layer, shape in self.shapes.items()}

    def initial_state(
        self,
        batch_shape: tuple[int, ...],
        birth: Mapping[str, Tensor] | None = None,
        steps: int | None = None,
        unscored: int = 0,
    ) -> State:
        """Weights as they were born, and for recurrent networks an activity of zero.

        Without `birth` weights that are redrawn are those that the agent's seed gives first. In a rollout without
        gradients they are a copy that is changed in place, beside scratch memory for the rule: asking for so much at
        each step would take longer than the step.

        Raises:
            UsageError: the weights, or what a backward pass remembers of them, need more memory than there is.
        """
        in_place = steps is not None and not torch.is_grad_enabled()
        self._check_memory("the weights", math.prod(batch_shape) * (3 if in_place else 1 + 4 * (steps or 0)))
        if birth is None:
            birth = self.draw_birth(batch_shape[-1], torch.Generator().manual_seed(self._seed))
        weights = {}
        for layer in self.shapes:
            born = birth[layer] if layer in birth else getattr(self.slow, layer).unsqueeze(-3)
            weights[layer] = born.expand(*batch_shape, -1, -1)
        state: State = {"weights": weights}
        if in_place:
            state["weights"] = {
                layer: value.clone(memory_format=torch.contiguous_format) for layer, value in weights.items()
            }
            state["scratch"] = {layer: tuple(value.new_empty(2, *value.shape)) for layer, value in weights.items()}
        state |= born_traces(self.rule, self.shapes, batch_shape, weights["1"])
        if self.options.recurrent:
            state["hidden"] = weights["1"].new_zeros(*batch_shape, self.options.sizes[0])
        return state

    def live(self, percept: Tensor, state: State, record: dict[str, Tensor] | None = None) -> tuple[Tensor, State]:
        """Live one step: observation (..., B, D) to output (..., B, K); then one change of the weights."""
        weights: dict[str, Tensor] = state["weights"]
        posts = [percept.expand(*weights["1"].shape[:-2], -1)]  # a population sees the same
        pres: list[Tensor] = []
        summed: list[Tensor] = []
        for layer, weight in weights.items():
            recurs = self.options.recurrent and layer == "1"
            pres.append(torch.cat([posts[-1], state["hidden"]], -1) if recurs else posts[-1])  # (..., B, n)
            summed.append((pres[-1].unsqueeze(-2) @ weight).squeeze(-2))  # (..., B, m)
            last = len(pres) == len(weights)
            posts.append(summed[-1] if last and self.options.output == "linear" else summed[-1].tanh())
        new = {**state, "hidden": posts[1]} if self.options.recurrent else {**state}
        if self.plastic:
            layers = zip(pres, summed, posts[1:], strict=True)
            activities = {layer: Activity(*each) for layer, each in zip(weights, layers, strict=True)}
            new |= self._learn(state, activities, self.observed_reward(percept))
        if record is not None:
            record["raw_output"] = summed[-1]
            record |= {f"activity.{number}": value for number, value in enumerate(posts[1:], 1)}
            record |= {f"weight.{layer}": weight.clone() for layer, weight in new["weights"].items()}
        return posts[-1], new

    def recordable(self) -> tuple[str, ...]:
        """Each layer's activity and its weights after the step, and the last layer's summed input."""
        return (
            *(f"activity.{layer}" for layer in self.shapes),
            *(f"weight.{layer}" for layer in self.shapes),
            "raw_output",
        )

    def close_state(self, state: State) -> State:
        """The state as single steps have it, whose weights are not changed in place."""
        return {name: value for name, value in state.items() if name != "scratch"}

    def _learn(self, state: State, activities: Mapping[str, Activity], reward: Tensor | None) -> State:
        """The weights after one change by the rule, in place if there is scratch memory; and the rule's traces."""
        rule, scratch = self.rule, state.get("scratch")
        weights: dict[str, Tensor] = {}
        kept: dict[str, Mapping[str, Tensor]] = {}
        for index, (layer, weight) in enumerate(state["weights"].items()):
            pre, summed, post, _ = activities[layer]
            read = partial(_itself, weight)
            signals = Signals(
                pre,
                post,
                summed=summed,
                layer=index,
                reward=reward,
                read_weight=read if "weight" in rule.needs else None,
                read_fast=read if "fast" in rule.needs else None,
                scratch=None if scratch is None else scratch[layer],
            )
            change, traces = updated(rule, signals, state["traces"][layer] if rule.traces else {})
            new = self._add(weight, dense_change(change, signals), in_place=scratch is not None)
            if self.options.normalise:
                new = new / _largest(new) if scratch is None else new.div_(_largest(new))
            weights[layer] = new
            if traces:
                kept[layer] = traces
        return {"weights": weights, "traces": kept} if kept else {"weights": weights}

    def _add(self, weight: Tensor, change: Tensor, in_place: bool) -> Tensor:
        """W + Δ, with the rule's own learning rate, fading and bound if it has them."""
        own = self.rule.learning_rate()
        if own is not None:
            faded = change - weight if self.rule.decay == "rate" else change
            change = own[..., None, None, None] * faded  # of one individual or a population (P,)
        if self.rule.bound is not None:
            return self.rule.bound.add(weight, change)
        return weight.add_(change) if in_place else weight + change

    def _draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        if self.options.start == "normal":
            return torch.randn(shape, generator=generator, dtype=self.dtype, device=generator.device) * NORMAL
        uniform = torch.rand(shape, generator=generator, dtype=self.dtype, device=generator.device)
        return (uniform * 2 - 1) * UNIFORM

    def _check_memory(self, what: str, copies: int) -> None:
        n_weights = copies * sum(n * m for n, m in self.shapes.values())
        advice = "take fewer units, episodes or individuals"
        check_memory(f"{what} are {n_weights:,} numbers", 4e-9 * n_weights, advice)


def _itself(weight: Tensor) -> Tensor:
    return weight


def _largest(weight: Tensor) -> Tensor:
    """The largest absolute value of each matrix (..., 1, 1), or 1 where all are 0."""
    flat = weight.flatten(-2)
    largest = torch.maximum(flat.amax(-1), -flat.amin(-1))[..., None, None]
    return largest.masked_fill(largest == 0, 1)
