"""Sizes and options of networks, checked once."""

from dataclasses import dataclass
from typing import Literal, get_args

from agents.layers import Plasticity
from plastic_envs.checks import check_bool, check_choice, check_float, check_int


@dataclass(frozen=True)
class NetworkOptions:
    """Sizes and options of a self-modulated network; the defaults are the paper's.

    To freeze the slow weights as drawn, search the other parameters only: the patterns "*.plasticity" and "rule.*".

    Attributes:
        hidden: Units H of the embedding and of the recurrent layer.
        cell: The recurrent cell, a name of `agents.CELLS` or `module:Name`.
        rate: Neutral learning rate p_lr; modulation multiplies it by up to 2.
        decay: Neutral decay p_wd of the fast weights; the same modulation multiplies it.
        max_norm: Limit of the norm of one episode's change over all layers, before the rate.
        modulation: Whether the last output sets rate and decay at every step; otherwise both stay neutral.
        plasticity: Start of the learned plasticity per connection: U(−1, 1), 1 or −1; "none" fixes it at 1.
        spare_outputs: Outputs beyond the task's that only the self-generated loss sees.
        layer_norm: Normalise the recurrent activity; the normalised one is carried on and decoded.
        clip: Limit of each fast weight, or no limit.
        inner_loss_mean: The self-generated loss of an episode, or as in the authors' program its mean over the batch,
            which makes the rule depend on the batch size.
    """

    hidden: int = 128
    cell: str = "rnn"
    rate: float = 0.1
    decay: float = 0.1
    max_norm: float = 1.0
    modulation: bool = True
    plasticity: Plasticity = "random"
    spare_outputs: int = 4
    layer_norm: bool = False
    clip: float | None = None
    inner_loss_mean: Literal["episode", "batch"] = "episode"

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in one sentence."""
        check_int("hidden", self.hidden, low=1)
        check_float("rate", self.rate, low=0)
        check_float("decay", self.decay, low=0, high=1)
        check_float("max_norm", self.max_norm, low=1e-9)
        check_bool("modulation", self.modulation)
        check_choice("plasticity", self.plasticity, get_args(Plasticity))
        check_int("spare_outputs", self.spare_outputs, low=0)
        check_bool("layer_norm", self.layer_norm)
        if self.clip is not None:
            check_float("clip", self.clip, low=0)
        check_choice("inner_loss_mean", self.inner_loss_mean, ("episode", "batch"))
