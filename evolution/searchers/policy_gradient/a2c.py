"""Advantage actor-critic through whole episodes."""

from dataclasses import dataclass
from typing import Any

from evolution.searchers.policy_gradient.reward_gradient import RewardGradient, RewardGradientOptions
from evolution.searchers.policy_gradient.sb3_algorithm import WholeEpisodes

# isort: split
import stable_baselines3


class EpisodicA2C(WholeEpisodes, stable_baselines3.A2C):
    """SB3's A2C on whole episodes: one update of each batch, by the gradient kept while it was lived."""

    acts_with_gradient = True


@dataclass(frozen=True)
class A2COptions(RewardGradientOptions):
    """Options of A2C; discount, weights, batch size and whole returns are by default those of Miconi's mazes."""

    learning_rate: float = 1e-3
    batch_size: int = 30
    gamma: float = 0.9
    gae_lambda: float = 1.0
    entropy: float = 0.1
    value: float = 0.1
    clip: float | None = 4.0

    def keywords(self, horizon: int) -> dict[str, Any]:
        """Steps are Adam's, not those of RMSProp."""
        return super().keywords(horizon) | {"use_rms_prop": False}


class A2C(RewardGradient):
    """Advantage actor-critic: one step of gradient descent on each batch of episodes, backwards through all of them.

    Sources: Mnih et al. 2016, "Asynchronous Methods for Deep Reinforcement Learning", section 4; Miconi et al. 2018,
    "Differentiable plasticity", and 2019, "Backpropamine", on mazes.
    """

    algorithm_class = EpisodicA2C
    Options = A2COptions
