"""Sizes and options of networks with fast weights, checked once."""

from dataclasses import dataclass
from typing import Literal, get_args

from agents.layers import Plasticity
from agents.networks.modulation import Modulation, check_modulation
from plastic_envs.utils.checks import check_bool, check_choice, check_float, check_int

Input = Literal["linear", "add", "clamp"]
Sharing = Literal["connection", "shared"]


@dataclass(frozen=True)
class PlasticityOptions:
    """How fast weights change, whatever the network.

    Attributes:
        rate: Learning rate of rules that have none of their own; the modulator multiplies it.
        decay: Decay of the fast weights by rules that have none of their own; the modulator multiplies it too.
        max_norm: Limit of the norm of one episode's change over all layers, before the rate; None for no limit.
        clip: Limit of each fast weight, plasticity included; None for no limit.
        modulation: How the modulator's summed input becomes the factor M of the learning rate; "none" for M = 1. By
            rules with a learning rate of their own, M takes its place in networks whose `rate` is 1.
        fan_out: Each unit that receives weighs the modulator itself, M·weight + bias (Miconi et al. 2019).
        retroactive: The modulator gates an eligibility trace of earlier changes instead of the step's own
            (Miconi et al. 2019): E ← (1 − η) E + η Δ after F has changed by M·E, with η the rule's rate.
        front_end: Sees the image that an observation begins with, and gives its features in its place: a name of
            `agents.FRONT_ENDS` or `module:Name`; None for the image as it is.
    """

    rate: float = 1.0
    decay: float = 0.0
    max_norm: float | None = None
    clip: float | None = None
    modulation: Modulation = "none"
    fan_out: bool = False
    retroactive: bool = False
    front_end: str | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in one sentence."""
        check_float("rate", self.rate, low=0)
        check_float("decay", self.decay, low=0, high=1)
        if self.max_norm is not None:
            check_float("max_norm", self.max_norm, low=1e-9, high=1e18)  # its square is taken, in float32
        if self.clip is not None:
            check_float("clip", self.clip, low=0)
        check_modulation(self.modulation, self.fan_out, self.retroactive)


@dataclass(frozen=True)
class NetworkOptions(PlasticityOptions):
    """Sizes and options of a self-modulated network; the defaults are the paper's.

    To freeze the slow weights as drawn, search the other parameters only: the patterns "*.plasticity" and "rule.*".

    Attributes:
        rate: Neutral learning rate p_lr; modulation multiplies it by up to 2.
        decay: Neutral decay p_wd of the fast weights; the same modulation multiplies it.
        hidden: Units H of the embedding and of the recurrent layer.
        cell: The recurrent cell, a name of `agents.CELLS` or `module:Name`.
        plasticity: Start of the learned plasticity per connection: U(−1, 1), 1 or −1; "none" fixes it at 1.
        spare_outputs: Outputs beyond the task's that only the self-generated loss sees.
        layer_norm: Normalise the recurrent activity; the normalised one is carried on and decoded.
        inner_loss_mean: The self-generated loss of an episode, or as in the authors' program its mean over the batch,
            which makes the rule depend on the batch size.
    """

    rate: float = 0.1
    decay: float = 0.1
    max_norm: float | None = 1.0
    modulation: Modulation = "double-sigmoid"
    hidden: int = 128
    cell: str = "rnn"
    plasticity: Plasticity = "random"
    spare_outputs: int = 4
    layer_norm: bool = False
    inner_loss_mean: Literal["episode", "batch"] = "episode"

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in one sentence."""
        super().__post_init__()
        check_int("hidden", self.hidden, low=1)
        check_choice("plasticity", self.plasticity, get_args(Plasticity))
        check_int("spare_outputs", self.spare_outputs, low=0)
        check_bool("layer_norm", self.layer_norm)
        check_choice("inner_loss_mean", self.inner_loss_mean, ("episode", "batch"))


@dataclass(frozen=True)
class PlasticRNNOptions(PlasticityOptions):
    """Sizes and options of a `PlasticRNN`; the defaults are the papers'.

    Attributes:
        input: How observations drive the units: through a "linear" layer; each number may "add" to what its unit
            receives; or it may "clamp" its unit, whose activity it then is, unless it is 0. In the latter two the
            outputs are the activity of the first units themselves.
        hidden: Units N. By default 100 for linear input, and otherwise as many as an observation has numbers; more are
            hidden from the input.
        plasticity: Λ per "connection", or one number "shared" by all.
        scale: Start of W and Λ: N(0, scale), or for linear input U(0, scale).
    """

    input: Input = "linear"
    hidden: int | None = None
    plasticity: Sharing = "connection"
    scale: float = 0.01

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in one sentence."""
        super().__post_init__()
        check_choice("input", self.input, get_args(Input))
        if self.hidden is not None:
            check_int("hidden", self.hidden, low=1)
        check_choice("plasticity", self.plasticity, get_args(Sharing))
        check_float("scale", self.scale, low=0)

    def units(self, observation_size: int) -> int:
        """N, given the numbers in an observation."""
        return self.hidden or (100 if self.input == "linear" else observation_size)


@dataclass(frozen=True)
class PlasticMLPOptions(PlasticityOptions):
    """Sizes and options of a `PlasticMLP`.

    Attributes:
        hidden: Units of each hidden layer.
        hidden_layers: How many there are; 0 to see and act by one layer.
        plasticity: Λ per "connection", or one number "shared" by a layer.
        scale: Start of Λ.
    """

    hidden: int = 16
    hidden_layers: int = 1
    plasticity: Sharing = "connection"
    scale: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in one sentence."""
        super().__post_init__()
        check_int("hidden", self.hidden, low=1)
        check_int("hidden_layers", self.hidden_layers, low=0, high=1000)
        check_choice("plasticity", self.plasticity, get_args(Sharing))
        check_float("scale", self.scale, low=0)


@dataclass(frozen=True)
class PlasticHeadOptions(PlasticityOptions):
    """Options of a `PlasticHead`; the defaults are the paper's.

    Attributes:
        plasticity: Λ per "connection", or one number "shared" by all.
        label_gain: What the label is multiplied with before it is added to the logits.
        scale: Start: W from N(0, scale), Λ from U(0, scale).
    """

    plasticity: Sharing = "connection"
    label_gain: float = 1000.0
    scale: float = 0.01

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in one sentence."""
        super().__post_init__()
        check_choice("plasticity", self.plasticity, get_args(Sharing))
        check_float("label_gain", self.label_gain, low=0)
        check_float("scale", self.scale, low=0)
