"""Proximal policy optimization through whole episodes."""

from dataclasses import dataclass
from typing import Any

from evolution.searchers.policy_gradient.reward_gradient import RewardGradient, RewardGradientOptions
from evolution.searchers.policy_gradient.sb3_algorithm import WholeEpisodes
from plastic_envs.utils.checks import check_float, check_int
from plastic_envs.utils.errors import UsageError

# isort: split
import stable_baselines3


class EpisodicPPO(WholeEpisodes, stable_baselines3.PPO):
    """SB3's PPO on whole episodes: minibatches are whole episodes, lived through again at every update."""

    acts_with_gradient = False


@dataclass(frozen=True)
class PPOOptions(RewardGradientOptions):
    """Options of PPO; other defaults than batch sizes are SB3's.

    Attributes:
        minibatch_size: Episodes of a gradient step; `batch_size` is a multiple of it.
        n_epochs: How often each episode is used.
        clip_range: How far an action's probability may change, as a share.
    """

    learning_rate: float = 3e-4
    batch_size: int = 64
    gamma: float = 0.99
    gae_lambda: float = 0.95
    entropy: float = 0.0
    value: float = 0.5
    clip: float | None = 0.5
    minibatch_size: int = 16
    n_epochs: int = 10
    clip_range: float = 0.2

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in one sentence; numpy's numbers become Python's."""
        super().__post_init__()
        self._check(check_int, "minibatch_size", low=1)
        self._check(check_int, "n_epochs", low=1, high=10_000)
        self._check(check_float, "clip_range", low=0)
        if self.batch_size % self.minibatch_size:
            raise UsageError(f"batch_size={self.batch_size} is not a multiple of minibatch_size={self.minibatch_size}")

    def keywords(self, horizon: int) -> dict[str, Any]:
        """Those of Stable-Baselines3's PPO, whose batches are minibatches, in steps."""
        own = {"batch_size": self.minibatch_size * horizon, "n_epochs": self.n_epochs, "clip_range": self.clip_range}
        return super().keywords(horizon) | own


class PPO(RewardGradient):
    """Proximal policy optimization: some epochs of minibatches on each batch of episodes, backwards through all steps.

    A minibatch is of whole episodes, which the agent lives through again by what it observed.

    Source: Schulman et al. 2017, "Proximal Policy Optimization Algorithms", arXiv:1707.06347.
    """

    algorithm_class = EpisodicPPO
    Options = PPOOptions
