"""Advantage actor-critic through whole episodes."""

from collections.abc import Sequence

from agents import Agent
from evolution.searchers.policy_gradient.reward_gradient import RewardGradient
from evolution.searchers.policy_gradient.sb3_algorithm import WholeEpisodes
from plastic_envs.core.task import Task

# isort: split
import stable_baselines3


class EpisodicA2C(WholeEpisodes, stable_baselines3.A2C):
    """SB3's A2C on whole episodes: one update of each batch, by the gradient kept while it was lived."""

    acts_with_gradient = True


class A2C(RewardGradient):
    """Advantage actor-critic: one step of gradient descent on each batch of episodes, backwards through all of them.

    Discount, weights and batch size are by default those of the mazes in Miconi et al., and as there returns are whole,
    without bootstrapping.

    Sources: Mnih et al. 2016, "Asynchronous Methods for Deep Reinforcement Learning", section 4; Miconi et al. 2018,
    "Differentiable plasticity", and 2019, "Backpropamine", on mazes.

    Args:
        task: what pays the reward.
        agent: where the search starts.
        seed: root seed of episodes, births and actions.
        searched: name patterns of the parameters to search.
        budget: episodes of the whole search, which a schedule needs.
        learning_rate: step size of Adam, at the start of the schedule.
        batch_size: episodes an update.
        gamma: discount of the reward a step later.
        gae_lambda: λ of generalised advantages; 1 for the whole return.
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
        learning_rate: float = 1e-3,
        batch_size: int = 30,
        gamma: float = 0.9,
        gae_lambda: float = 1.0,
        entropy: float = 0.1,
        value: float = 0.1,
        clip: float | None = 4.0,
        schedule: str | None = None,
    ) -> None:
        super().__init__(
            EpisodicA2C, task, agent, seed=seed, searched=searched, budget=budget, learning_rate=learning_rate,
            schedule=schedule, batch_size=batch_size, gamma=gamma, gae_lambda=gae_lambda, entropy=entropy, value=value,
            clip=clip,
            own={"use_rms_prop": False},
        )  # fmt: skip
