"""Proximal policy optimization through whole episodes."""

from collections.abc import Sequence

from agents import Agent
from evolution.searchers.policy_gradient.reward_gradient import RewardGradient
from evolution.searchers.policy_gradient.sb3_algorithm import WholeEpisodes
from plastic_envs.core.task import Task
from plastic_envs.utils.checks import check_float, check_int
from plastic_envs.utils.errors import UsageError

# isort: split
import stable_baselines3


class EpisodicPPO(WholeEpisodes, stable_baselines3.PPO):
    """SB3's PPO on whole episodes: minibatches are whole episodes, lived through again at every update."""

    acts_with_gradient = False


class PPO(RewardGradient):
    """Proximal policy optimization: some epochs of minibatches on each batch of episodes, backwards through all steps.

    A minibatch is of whole episodes, which the agent lives through again by what it observed. Other defaults than batch
    sizes are SB3's.

    Source: Schulman et al. 2017, "Proximal Policy Optimization Algorithms", arXiv:1707.06347.

    Args:
        task: what pays the reward.
        agent: where the search starts.
        seed: root seed of episodes, births, actions and the order of minibatches.
        searched: name patterns of the parameters to search.
        budget: episodes of the whole search, which a schedule needs.
        learning_rate: step size of Adam, at the start of the schedule.
        batch_size: episodes that are lived before an update.
        minibatch_size: episodes of a gradient step; `batch_size` is a multiple of it.
        n_epochs: how often each episode is used.
        clip_range: how far an action's probability may change, as a share.
        gamma: discount of the reward a step later.
        gae_lambda: λ of generalised advantages.
        entropy: weight of the actions' entropy.
        value: weight of the squared error of the value.
        clip: bound of the gradient's norm; None for none.
        schedule: None, or "cosine" or "linear" from the learning rate to 0 over the budget.

    Raises:
        UsageError: an option is out of range, or the rule has a penalty.
    """

    def __init__(
        self,
        task: Task,
        agent: Agent,
        *,
        seed: int = 0,
        searched: Sequence[str] = ("*",),
        budget: int | None = None,
        learning_rate: float = 3e-4,
        batch_size: int = 64,
        minibatch_size: int = 16,
        n_epochs: int = 10,
        clip_range: float = 0.2,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        entropy: float = 0.0,
        value: float = 0.5,
        clip: float | None = 0.5,
        schedule: str | None = None,
    ) -> None:
        minibatch_size = check_int("minibatch_size", minibatch_size, low=1)
        if check_int("batch_size", batch_size, low=1) % minibatch_size:
            raise UsageError(f"batch_size={batch_size} is not a multiple of minibatch_size={minibatch_size}")
        super().__init__(
            EpisodicPPO, task, agent, seed=seed, searched=searched, budget=budget, learning_rate=learning_rate,
            schedule=schedule, batch_size=batch_size, gamma=gamma, gae_lambda=gae_lambda, entropy=entropy, value=value,
            clip=clip,
            own={
                "batch_size": minibatch_size * task.horizon,
                "n_epochs": check_int("n_epochs", n_epochs, low=1, high=10_000),
                "clip_range": check_float("clip_range", clip_range, low=0),
            },
        )  # fmt: skip
