"""What networks with fast weights share: a rule's changes are limited in norm, modulated, and written."""

import math
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from agents.agent import Agent, State
from agents.fast_weights.base import DenseFastWeights, Fast, TraceFastWeights, gather, weight_in_use
from agents.fast_weights.distinct_pairs import DistinctPairs, saving
from agents.fast_weights.fused import FusedWeights
from agents.fast_weights.history import FastHistory, chunk_size
from agents.fast_weights.rollout_weights import RolloutWeights
from agents.layers import PlasticLinear, with_ones
from agents.networks.activity import Activity
from agents.networks.front_ends import make_front_end
from agents.networks.modulation import SIGNED, StepRates, squash
from agents.networks.options import PlasticityOptions
from agents.rules import LowRank, RankOne, Rule, Signals
from agents.rules.base import born_traces, updated
from plastic_envs.utils.errors import UsageError


class FastWeightNetwork(Agent):
    """A network whose layers use the weights W + Λ∘F: slow W and plasticity Λ are searched, F changes while it lives.

    At every step F ← (1 − δ) F + η·Δ, with Δ the rule's change, limited in norm over all layers, and η and δ multiplied
    by the modulator M; see `PlasticityOptions`.

    A subclass says what its `layers` are and calls `add_modulation` when they are made, `newborn_fast` for the state at
    birth, and in each step `open_fast`, `apply_layer` and, at its end, `apply_rule`: see examples/custom_network.py.
    """

    options: PlasticityOptions
    modulator: PlasticLinear | None
    fan_out: nn.ModuleDict | None
    keeps_trace: ClassVar[bool] = False
    """Whether the public state holds F for every rule; otherwise it holds Λ∘F where the rule does not need F itself."""

    fused_to: ClassVar[int] = 40_000
    """Weights of the largest layer up to which rollouts on a CPU change F by compiled passes where they could keep it
    as distinct pairs too: those merge what is held, and take less memory."""

    pairs_from: ClassVar[float] = 50_000.0
    """The saving from which rollouts keep F as distinct pairs, as `distinct_pairs.saving` counts it: -inf for always,
    inf for never. The default is what a step of nodes costs, in fast weights that a dense step could pass over."""

    def __init__(
        self,
        observation_size: int,
        output_size: int,
        *,
        rule: Rule,
        options: PlasticityOptions,
        seed: int,
        image_shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(observation_size, output_size, rule=rule, seed=seed)
        self.options = options
        self.front_end = None if options.front_end is None else make_front_end(options.front_end, image_shape, seed)
        self.n_pixels = 0 if self.front_end is None else math.prod(self.front_end.image_shape)
        features = 0 if self.front_end is None else self.front_end.features
        self.perceived = observation_size - self.n_pixels + features
        """How many numbers the network works on at a step: features instead of pixels, and the rest."""
        self.plastic = bool(rule.needs)
        self.batched = rule.batched
        self.decays = rule.decay == "rate" or (rule.decay == "network" and options.decay > 0)
        if self.plastic and self.decays and options.modulation in SIGNED:
            raise UsageError(
                f"modulation={options.modulation} can be negative, and the weights that fade by this rule would grow "
                "without end: choose sigmoid or double-sigmoid, or a rule without decay"
            )
        if options.clip is not None and self._holds_trace:
            raise UsageError("clip is for rules that neither read nor bound their fast weights: leave it out")
        self.reads_summed = "summed" in rule.needs
        self.rule_modulates = "modulator" in rule.needs
        """Whether the modulator is the rule's affair, and multiplies nothing by itself."""
        if self.rule_modulates and (options.modulation == "none" or options.fan_out or options.retroactive):
            raise UsageError(
                f"rule {type(rule).__name__} reads the modulator: choose a modulation, without fan_out and retroactive"
            )

    def layers(self) -> dict[str, PlasticLinear]:
        """The plastic layers by name, input to output."""
        raise NotImplementedError

    def perceive(self, observations: Tensor, state: State) -> Tensor:
        """Observations (S, B, D) with the features of all images in their place, (S, B, `perceived`)."""
        observations = super().perceive(observations, state)
        if self.front_end is None:
            return observations
        images, rest = observations.tensor_split((self.n_pixels,), -1)
        features = self.front_end(images.reshape(-1, *self.front_end.image_shape))
        return torch.cat([features.view(*images.shape[:-1], -1), rest], -1)

    def takes_population(self, names: Collection[str]) -> bool:
        """Unless a front end is among the parameters that differ: convolutions take those of one individual."""
        return self.batched and not any(name.startswith("front_end.") for name in names)

    @classmethod
    def rule_arguments(cls, observation_size: int, output_size: int, options: Any) -> dict[str, Any]:
        """Whether a rule has a learning rate of its own: not where the modulator takes its place."""
        return {"own_rate": options.modulation == "none" or options.retroactive}

    def add_modulation(self, generator: torch.Generator, readout_of: int | None = None) -> None:
        """Make what modulation needs, when the layers are there.

        Args:
            generator: Draws the weights.
            readout_of: Units whose activity is read out as the modulator; None if the network has one anyway.
        """
        modulated = self.plastic and self.options.modulation != "none"
        self.modulator = None
        self.fan_out = None
        if modulated and readout_of is not None:
            scale = 1 / math.sqrt(readout_of)
            self.modulator = PlasticLinear.drawn(readout_of, 1, biases=1, scale=scale, generator=generator)
        if modulated and self.options.fan_out:
            made = {
                name: PlasticLinear.drawn(1, layer.outputs, biases=1, scale=1.0, generator=generator)
                for name, layer in self.layers().items()
            }
            self.fan_out = nn.ModuleDict(made)

    def modulate(self, activity: Tensor) -> Tensor | None:
        """The modulator's summed input (..., B) from the activity that is read out; None if nothing modulates."""
        if self.modulator is None:
            return None
        return (with_ones(activity, ones=1) @ self.modulator.weight).squeeze(-1)

    @property
    def _holds_trace(self) -> bool:
        """Whether the public state holds F itself here: the rule may ask for it where the network does not."""
        return self.keeps_trace or self.rule.bound is not None or "fast" in self.rule.needs

    def newborn_fast(self, batch_shape: tuple[int, ...], steps: int | None) -> State:
        """The part of a newborn's state that holds fast weights, eligibility traces and the rule's own traces."""
        if not self.plastic:
            return {}
        shapes = {name: (layer.inputs + layer.biases, layer.outputs) for name, layer in self.layers().items()}
        traces = born_traces(self.rule, shapes, batch_shape, next(iter(self.layers().values())).weight)
        return self._all_zero(batch_shape, steps) | traces

    def _all_zero(self, batch_shape: tuple[int, ...], steps: int | None) -> State:
        if steps is not None and self._may_remember():
            return {"fast": FastHistory(self.layers(), None, batch_shape, chunk_size(steps))}
        if steps is not None and (cheapest := self._rollout_weights(batch_shape, steps)) is not None:
            return {"fast": cheapest}

        def zeros() -> dict[str, Tensor]:
            return {
                name: layer.weight.new_zeros(*batch_shape, layer.inputs + layer.biases, layer.outputs)
                for name, layer in self.layers().items()
            }

        return {"fast": zeros(), "eligibility": zeros()} if self.options.retroactive else {"fast": zeros()}

    def _may_remember(self) -> bool:
        """Whether fast weights can be kept as remembered products: no rule asks for the matrix, none is limited.

        Strong decay would make the products' scale vanish within a chunk.
        """
        options, rule = self.options, self.rule
        if not rule.rank_one or self._holds_trace or options.clip is not None or options.retroactive:
            return False
        own = rule.learning_rate()
        fastest = {
            "none": 0.0,
            "network": options.decay,
            "rate": options.rate if own is None else float(own.detach().max()),
        }
        return fastest[rule.decay] <= 0.4

    def _rollout_weights(self, batch_shape: tuple[int, ...], steps: int) -> RolloutWeights | None:
        """The form in which a rollout is cheapest where the state holds F; None for dense matrices.

        What each unit makes of the modulator would need rates of each unit where it meets eligibility traces.
        """
        rule, layers, traces = self.rule, self.layers(), self.options.retroactive
        if not self._holds_trace or not rule.rank_one or (traces and self.options.fan_out):
            return None
        if self._fuses():
            return FusedWeights(layers, batch_shape, steps, decays=self.decays, bound=rule.bound, traces=traces)
        pairs = rule.bound is None and len(batch_shape) == 1
        if pairs and saving(layers, batch_shape[0], steps) >= self.pairs_from:
            return DistinctPairs(layers, batch_shape[0], traces=traces)
        return None

    def _fuses(self) -> bool:
        """Whether compiled passes are cheaper than distinct pairs, where a rollout can take both."""
        weights = [layer.weight for layer in self.layers().values()]
        small = max(weight.shape[-2] * weight.shape[-1] for weight in weights) <= self.fused_to
        return all(weight.device.type == "cpu" for weight in weights) and (small or self.rule.bound is not None)

    def close_state(self, state: State) -> State:
        """Fast weights as one matrix per layer and episode."""
        fast = state.get("fast")
        if isinstance(fast, RolloutWeights) and self.options.retroactive:
            state = state | {"eligibility": fast.eligibility()}
        return state | {"fast": fast.dense()} if isinstance(fast, FastHistory | RolloutWeights) else state

    def open_fast(self, state: State) -> Fast | None:
        """The fast weights of a state, to be read and written."""
        if not self.plastic:
            return None
        fast: Any = state["fast"]
        if not isinstance(fast, dict):
            return fast  # type: ignore[no-any-return]
        if self._holds_trace:
            return TraceFastWeights(self.layers(), fast, self.rule.bound)
        return DenseFastWeights(self.layers(), fast, self.options.clip)

    def recordable_fast(self) -> list[str]:
        """What happens to the fast weights, by name."""
        if not self.plastic:
            return []
        modulator = ["modulator"] if self.options.modulation != "none" else []
        return [*modulator, "rate", "decay", "norm", *(f"fast.{name}" for name in self.layers())]

    def apply_rule(
        self,
        fast: Fast,
        state: State,
        activities: Mapping[str, Activity],
        *,
        modulator: Tensor | None = None,
        reward: Tensor | None = None,
        record: dict[str, Tensor] | None = None,
    ) -> State:
        """Change the fast weights once: the part of the new state that holds them.

        Args:
            fast: What `open_fast` gave.
            state: The state at the start of the step.
            activities: What each layer did; with errors where the network has them.
            modulator: The modulator's summed input (..., B).
            reward: What `observed_reward` gave.
            record: Gets what `recordable_fast` names.
        """
        options = self.options
        post = next(iter(activities.values())).post
        ones = post.new_ones(post.shape[:-1])
        factor = ones if modulator is None else squash(options.modulation, modulator)
        changes, kept = self._changes(fast, activities, state.get("traces", {}), factor, reward)
        factor = ones if self.rule_modulates else factor
        rate, fading, fading_traces = self._rates(factor, self.rule.learning_rate())
        # max_norm / max(norm, max_norm): where nothing changes the norm is 0 and its square root has no derivative
        most = options.max_norm
        limit = None if most is None else most * _square_norm(changes).clamp(min=most**2).rsqrt()
        traces: State = {"traces": kept} if kept else {}
        if options.retroactive:
            gain = fading_traces if limit is None else fading_traces * limit
            if isinstance(fast, RolloutWeights):
                fast.write_retroactive(changes, rate, fading, gain, fading_traces)
            else:
                fast.write(self._spread(state["eligibility"], factor), rate, fading)
                traces["eligibility"] = gather(state["eligibility"], changes, gain, fading_traces)
        else:
            fast.write(self._spread(changes, factor), rate if limit is None else rate * limit, fading)
        if record is not None:
            record |= {"rate": rate, "decay": fading, "norm": _square_norm(changes).sqrt(), "modulator": factor}
            record |= {f"fast.{name}": self._public(fast, name) for name in self.layers()}
        return {"fast": fast.matrices if isinstance(fast, DenseFastWeights) else fast} | traces

    def _rates(self, factor: Tensor, eta: Tensor | None) -> StepRates:
        """How fast the fast weights change, from the modulator M (..., B) and the rule's η, () or (P,)."""
        options = self.options
        own = options.rate if eta is None else eta.unsqueeze(-1)  # (1,) or (P, 1)
        step_rate = options.rate if options.retroactive else own
        decays = options.decay if self.rule.decay == "network" else step_rate
        return StepRates(
            step_rate * (torch.ones_like(factor) if options.fan_out else factor),
            torch.zeros_like(factor) if self.rule.decay == "none" else decays * factor,
            torch.as_tensor(own, dtype=factor.dtype),
        )

    def _changes(
        self,
        fast: Fast,
        activities: Mapping[str, Activity],
        traces: Mapping[str, Mapping[str, Tensor]],
        modulator: Tensor,
        reward: Tensor | None,
    ) -> tuple[dict[str, RankOne | Tensor], dict[str, Mapping[str, Tensor]]]:
        """The rule's change of each layer, and its traces after it if it keeps any."""
        rule = self.rule
        needs = rule.needs
        changes: dict[str, RankOne | Tensor] = {}
        kept: dict[str, Mapping[str, Tensor]] = {}
        for index, (name, layer) in enumerate(self.layers().items()):
            pre, summed, post, error = activities[name]
            if layer.biases and not rule.plastic_biases:
                pre = nn.functional.pad(pre[..., : layer.inputs], (0, layer.biases))
            signals = Signals(
                pre,
                post,
                error,
                summed=summed,
                layer=index,
                reward=reward,
                modulator=modulator.unsqueeze(-1) if self.rule_modulates else None,
                read_weight=partial(weight_in_use, layer, fast, name) if "weight" in needs else None,
                read_fast=partial(self._public, fast, name) if "fast" in needs else None,
            )
            change, new = updated(rule, signals, traces.get(name, {}))
            changes[name] = change.dense(signals) if isinstance(change, LowRank) else change
            if new:
                kept[name] = new
        return changes, kept

    def _spread(self, changes: Mapping[str, RankOne | Tensor], factor: Tensor) -> Mapping[str, RankOne | Tensor]:
        """With fan-out, the changes times what each receiving unit makes of the modulator (..., B)."""
        if self.fan_out is None:
            return changes
        spread: dict[str, RankOne | Tensor] = {}
        for name, change in changes.items():
            layer = self.fan_out[name]
            assert isinstance(layer, PlasticLinear)
            gain = with_ones(factor.unsqueeze(-1), ones=1) @ layer.weight  # (..., B, m)
            spread[name] = (
                RankOne(change.pre, change.post * gain) if isinstance(change, RankOne) else change * gain.unsqueeze(-2)
            )
        return spread

    def _public(self, fast: Fast, name: str) -> Tensor:
        """A layer's fast weights as the public state holds them."""
        if isinstance(fast, RolloutWeights):
            return fast.trace(name)
        return fast.matrices[name] if isinstance(fast, DenseFastWeights) else fast.matrix(name)


def _square_norm(changes: Mapping[str, RankOne | Tensor]) -> Tensor:
    """The sum of all squares (..., B)."""
    squares = [
        change.square_norm() if isinstance(change, RankOne) else change.square().sum((-2, -1))
        for change in changes.values()
    ]
    return torch.stack(squares).sum(0) if len(squares) > 1 else squares[0]
