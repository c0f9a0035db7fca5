"""Duan's self-modulated networks: RNN or LSTM that set their own learning rate at every step."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from agents.agent import State
from agents.construct import construct_module
from agents.fast_weights.base import Fast, apply_layer
from agents.layers import PlasticLinear, with_ones
from agents.networks.activity import Activity
from agents.networks.cells import CELLS, Activation, Cell, rectify_back
from agents.networks.fast_network import FastWeightNetwork
from agents.networks.options import NetworkOptions
from agents.rules import Rule
from plastic_envs.utils.checks import check_int, check_memory


class SelfModulatedNetwork(FastWeightNetwork):
    """Three plastic layers: encode (D→H), a recurrent cell (drive and recurrent weights, 2H→G), decode (H→K+spare+1).

    The last output is the modulator m: rate η = p_lr·2σ(m) and decay δ = p_wd·2σ(m) of
    F ← (1−δ)F + η·min(1, max_norm/‖Δ‖)·Δ, with ‖Δ‖ over all layers of one episode.
    In the cell's matrix the first H rows are driven by the embedding, the next H by the last activity; its two
    biases, one for each, come last.

    Source: Duan et al., "Hebbian and Gradient-based Plasticity Enables Robust Memory and Rapid Learning in RNNs".
    """

    norm_epsilon: float = 1e-5
    offers = frozenset({"pre", "post", "summed", "error", "weight", "fast", "reward", "modulator"})
    Options = NetworkOptions

    def __init__(
        self,
        observation_size: int,
        output_size: int,
        *,
        rule: Rule,
        options: NetworkOptions,
        seed: int,
        image_shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(observation_size, output_size, rule=rule, options=options, seed=seed, image_shape=image_shape)
        self.options: NetworkOptions = options
        self.cell_type = cell = _cell(options)
        shapes = self.rule_arguments(self.perceived, output_size, options)["shapes"]
        hidden, (width, outputs) = options.hidden, (units for _, units in shapes[-2:])
        plasticity = options.plasticity if self.plastic else None
        n_weights = sum(n * m for n, m in shapes)
        check_memory(f"hidden={hidden} makes {n_weights:,} weights", 4e-9 * n_weights, "take fewer units")
        generator = torch.Generator().manual_seed(seed)

        def layer(inputs: int, units: int, biases: int, scale: float) -> PlasticLinear:
            return PlasticLinear.drawn(
                inputs, units, biases=biases, scale=scale, plasticity=plasticity, generator=generator
            )

        if self.front_end is None:
            self.encode = layer(observation_size, hidden, 1, 1 / math.sqrt(hidden))
        else:
            self.encode = self._project(hidden, generator)
        self.cell = layer(2 * hidden, width, 2, cell.gain / math.sqrt(width))
        self.decode = layer(hidden, outputs, 1, 1 / math.sqrt(outputs))
        self.add_modulation(generator)
        self.norm_gain = nn.Parameter(torch.ones(hidden)) if options.layer_norm else None
        self.norm_bias = nn.Parameter(torch.zeros(hidden)) if options.layer_norm else None
        self.loss_weight = nn.Parameter(torch.ones(outputs)) if "error" in rule.needs else None

    @classmethod
    def rule_arguments(cls, observation_size: int, output_size: int, options: NetworkOptions) -> dict[str, Any]:
        """The shape of each plastic layer, biases included.

        A rule keeps a learning rate of its own: the modulator multiplies it and never takes its place.
        """
        hidden = options.hidden
        outputs = output_size + options.spare_outputs + int(options.modulation != "none")
        cell = (2 * hidden + 2, _cell(options).gates * hidden)
        encode = ((observation_size + 1, hidden),) if options.front_end is None else ()
        return {"shapes": (*encode, cell, (hidden + 1, outputs))}

    def layers(self) -> dict[str, PlasticLinear]:
        """The plastic layers by name, input to output."""
        encode = {"encode": self.encode} if self.front_end is None else {}
        return {**encode, "cell": self.cell, "decode": self.decode}

    def _project(self, hidden: int, generator: torch.Generator) -> PlasticLinear:
        """The layer without plasticity from features to the units that the rest of an observation leaves."""
        assert self.front_end is not None
        rest = self.perceived - self.front_end.features
        check_int("hidden (with a front end)", hidden, low=rest + 1)
        scale = 1 / math.sqrt(hidden)
        return PlasticLinear.drawn(self.front_end.features, hidden - rest, biases=1, scale=scale, generator=generator)

    def _embed(self, observation: Tensor, fast: Fast | None) -> Activity:
        """The encoding layer's input (..., B, D+1), summed input and the embedding (..., B, H).

        With a front end, rectified units of the features are joined by the rest of the observation (Duan et al.).
        """
        if self.front_end is None:
            pre = with_ones(observation, ones=1)
            summed = apply_layer("encode", self.encode, fast, pre)
            return Activity(pre, summed, summed.relu())
        features, rest = observation.tensor_split((self.front_end.features,), -1)
        pre = with_ones(features, ones=1)
        summed = pre @ self.encode.weight
        return Activity(pre, summed, torch.cat([summed.relu(), rest], -1))

    def initial_state(
        self,
        batch_shape: tuple[int, ...],
        birth: Mapping[str, Tensor] | None = None,
        steps: int | None = None,
        unscored: int = 0,
    ) -> State:
        """All activity and all fast weights zero."""
        zeros = self.encode.weight.new_zeros
        hidden = self.options.hidden
        state: State = {"hidden": zeros(*batch_shape, hidden)}
        if self.cell_type.has_memory:
            state["memory"] = zeros(*batch_shape, hidden)
        return state | self.newborn_fast(batch_shape, steps)

    def recordable(self) -> tuple[str, ...]:
        """Activity, modulation and fast weights."""
        names = ["embedding", "hidden", "raw_output"]
        if self.cell_type.has_memory:
            names.append("memory")
        return (*names, *self.recordable_fast())

    def live(self, percept: Tensor, state: State, record: dict[str, Tensor] | None = None) -> tuple[Tensor, State]:
        """Live one step: observation (..., B, D) to output (..., B, K); one change of the fast weights at its end."""
        fast = self.open_fast(state)
        cell, decode = self.cell, self.decode
        memory = state.get("memory")
        observation = percept.expand(*state["hidden"].shape[:-1], -1)  # a population sees the same

        encoded = self._embed(observation, fast)
        pre_cell = with_ones(encoded.post, state["hidden"], ones=2)  # (..., B, 2H+2)
        summed = apply_layer("cell", cell, fast, pre_cell)
        activation = self.cell_type.activate(summed, memory)
        hidden, normalised = self._normalise(activation.hidden)
        pre_decode = with_ones(hidden, ones=1)  # (..., B, H+1)
        raw = apply_layer("decode", decode, fast, pre_decode)  # (..., B, K+spare+1)

        new: State = {"hidden": hidden}
        if activation.memory is not None:
            new["memory"] = activation.memory
        if fast is not None:
            errors = self._errors(fast, raw, activation, memory, normalised, encoded.post)
            activities = {
                "encode": encoded._replace(error=errors.get("encode")),
                "cell": Activity(pre_cell, summed, activation.post, errors.get("cell")),
                "decode": Activity(pre_decode, raw, raw, errors.get("decode")),
            }
            modulator = raw[..., -1] if self.options.modulation != "none" else None
            reward = self.observed_reward(percept)
            new |= self.apply_rule(fast, state, activities, modulator=modulator, reward=reward, record=record)
        if record is not None:
            record |= {"embedding": encoded.post, "raw_output": raw, "hidden": hidden}
            if activation.memory is not None:
                record["memory"] = activation.memory
        return raw[..., : self.output_size], new

    def _normalise(self, hidden: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """Layer normalisation over the H units; keeps the normalised values and 1/σ for the way back."""
        if self.norm_gain is None or self.norm_bias is None:
            return hidden, None
        centred = hidden - hidden.mean(-1, keepdim=True)
        inverse = (centred.square().mean(-1, keepdim=True) + self.norm_epsilon).rsqrt()
        values = centred * inverse
        return self.norm_gain.unsqueeze(-2) * values + self.norm_bias.unsqueeze(-2), (values, inverse)

    def _errors(
        self,
        fast: Fast,
        raw: Tensor,
        activation: Activation,
        memory: Tensor | None,
        normalised: tuple[Tensor, Tensor] | None,
        embedding: Tensor,
    ) -> dict[str, Tensor]:
        """Derivatives of ℓ = mean((y∘w_out)²) by each layer's summed input, through this step only."""
        if self.loss_weight is None:
            return {}
        count = raw.shape[-1] * (raw.shape[-2] if self.options.inner_loss_mean == "batch" else 1)
        hidden = self.options.hidden
        to_raw = raw * (2 / count * self.loss_weight.square()).unsqueeze(-2)
        to_hidden = _send_back("decode", self.decode, fast, to_raw, hidden)
        if normalised is not None and self.norm_gain is not None:
            values, inverse = normalised
            scaled = to_hidden * self.norm_gain.unsqueeze(-2)
            to_hidden = inverse * (
                scaled - scaled.mean(-1, keepdim=True) - values * (scaled * values).mean(-1, keepdim=True)
            )
        to_cell = self.cell_type.backward(to_hidden, activation, memory)
        to_embedding = _send_back("cell", self.cell, fast, to_cell, hidden)
        return {"encode": rectify_back(to_embedding, embedding), "cell": to_cell, "decode": to_raw}


def _cell(options: NetworkOptions) -> Cell:
    cell: Cell = construct_module("cell", options.cell, CELLS.load_class(options.cell, Cell), {})
    return cell


def _send_back(name: str, layer: PlasticLinear, fast: Fast, post: Tensor, rows: int) -> Tensor:
    """Post (W + Λ∘F)ᵀ for the first `rows` inputs."""
    slow = post @ layer.weight[..., :rows, :].transpose(-1, -2)
    return fast.read_back(name, post, rows, slow)
