"""What searchers that follow the gradient of the reward share."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from agents import Agent
from agents.rollouts.sizes import check_lives
from evolution.searchers.base import Searcher, with_gradients
from evolution.searchers.learning_rate import LearningRate
from evolution.searchers.optimizer_state import load_moments, load_values
from evolution.searchers.policy_gradient.sb3_algorithm import (
    WholeEpisodes,  # before anything of Stable-Baselines3: it says if that is missing
)
from evolution.searchers.policy_gradient.sb3_policy import AgentPolicy
from evolution.seeding import make_generator
from plastic_envs.core.task import Task
from plastic_envs.envs.sb3_vec_env import SB3VecEnv
from plastic_envs.envs.vector_env import TaskVectorEnv
from plastic_envs.utils.checks import check_float, check_int
from plastic_envs.utils.errors import UsageError

# isort: split
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import FloatSchedule


@dataclass(frozen=True)
class RewardGradientOptions:
    """Options of policy gradients, checked once.

    Attributes:
        learning_rate: Step size of Adam, at the start of the schedule.
        batch_size: Episodes that are lived before an update.
        gamma: Discount of the reward a step later.
        gae_lambda: λ of generalised advantages (Schulman et al. 2016, arXiv:1506.02438); 1 for the whole return.
        entropy: Weight of the entropy of actions, which is sought.
        value: Weight of the squared error of the value.
        clip: Bound of the gradient's norm; None for none.
        schedule: None, or "cosine" or "linear" from the learning rate to 0 over the budget.
    """

    learning_rate: float
    batch_size: int
    gamma: float
    gae_lambda: float
    entropy: float
    value: float
    clip: float | None
    schedule: str | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in one sentence; numpy's numbers become Python's."""
        self._check(check_int, "batch_size", low=1)
        for name, high in {"gamma": 1, "gae_lambda": 1, "entropy": math.inf, "value": math.inf}.items():
            self._check(check_float, name, low=0, high=high)
        if self.clip is not None:
            self._check(check_float, "clip", low=0)

    def _check(self, check: Callable[..., float], name: str, **bounds: float) -> None:
        object.__setattr__(self, name, check(name, getattr(self, name), **bounds))

    def keywords(self, horizon: int) -> dict[str, Any]:
        """Those of Stable-Baselines3's algorithm, for episodes of so many steps."""
        return {
            "gamma": self.gamma,
            "gae_lambda": self.gae_lambda,
            "ent_coef": self.entropy,
            "vf_coef": self.value,
            "max_grad_norm": math.inf if self.clip is None else self.clip,
        }


class RewardGradient(Searcher):
    """Policy gradients through whole episodes, by an algorithm of Stable-Baselines3.

    `algorithm` is SB3's own object, an `algorithm_class`, with `save`, `predict` and its logger, of which every step is
    told; if it is loaded and learns on by itself, it does so at the learning rate of the start. The value and the
    deviations of continuous actions are searched beside the agent's parameters, and are no part of the agent.

    Args:
        task: What pays the reward; targets, if there are any, count only by it.
        agent: Where the search starts.
        seed: Root seed of episodes, births, actions and the order of minibatches.
        searched: Name patterns of the parameters to search.
        budget: Episodes of the whole search, which a schedule needs.
        options: Those of `Options`.

    Raises:
        UsageError: an option is out of range, or the rule has a penalty.
    """

    algorithm_class: ClassVar[type[WholeEpisodes]]
    Options: ClassVar[type[RewardGradientOptions]]

    @with_gradients
    def __init__(
        self,
        task: Task,
        agent: Agent,
        *,
        seed: int = 0,
        searched: Sequence[str] = ("*",),
        budget: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(task, agent, seed=seed, searched=searched, budget=budget)
        if agent.rule.penalty() > 0:
            raise UsageError(f"rule {agent.config['rule']!r} has a penalty, which only other searchers minimise")
        chosen = self.Options(**options)
        self.batch_size = chosen.batch_size
        check_lives(agent, task, self.batch_size, what=f"batch_size={self.batch_size}")
        self.learning_rate = LearningRate(chosen.learning_rate, chosen.schedule, budget)
        envs = SB3VecEnv(TaskVectorEnv(task, num_envs=self.batch_size, autoreset_mode="SameStep"))
        self.algorithm = self.algorithm_class(
            AgentPolicy,  # type: ignore[arg-type]
            envs,
            learning_rate=self.learning_rate.rate,
            n_steps=task.horizon,
            policy_kwargs={
                "agent": self._agent,
                "searched": self.searched,
                "optimizer_kwargs": {"eps": 1e-5, "fused": True},
            },
            device="cpu",
            **chosen.keywords(task.horizon),
        )
        self.algorithm.generator = make_generator(seed, "task")
        self.algorithm.set_logger(Logger(folder=None, output_formats=[]))
        self._agent = self.algorithm.policy.agent

    @with_gradients
    def step(self) -> dict[str, float]:
        """Live `batch_size` fresh episodes and learn from them; also tells what SB3 logs of its training."""
        algorithm, before = self.algorithm, self.algorithm.num_timesteps
        algorithm.lr_schedule = FloatSchedule(self.learning_rate.at(self.episodes))
        try:
            algorithm.learn(1, log_interval=1, reset_num_timesteps=False)
        finally:
            self.ledger.count(self.batch_size, env_steps=algorithm.num_timesteps - before)
        logged = {name.removeprefix("train/"): float(told) for name, told in algorithm.logger.name_to_value.items()}
        return logged | {"loss": -algorithm.mean_reward}

    def agent(self) -> Agent:
        """The agent after the last update."""
        return copy.deepcopy(self._agent).requires_grad_(False).eval()

    def _trained(self) -> dict[str, torch.Tensor]:
        """Searched parameters, the value's and the deviations, by the policy's names."""
        return {name: part for name, part in self.algorithm.policy.named_parameters() if part.requires_grad}

    def state_dict(self) -> dict[str, Any]:
        """What is trained, the optimizer's moments, the generator, and the number of updates, which SB3 logs."""
        return super().state_dict() | {
            "parameters": {name: part.detach().clone() for name, part in self._trained().items()},
            "optimizer": copy.deepcopy(self.algorithm.policy.optimizer.state_dict()["state"]),
            "generator": self.algorithm.generator.get_state(),
            "updates": self.algorithm._n_updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; the learning rate comes from the constructor."""
        super().load_state_dict(state)
        load_values(self._trained(), state["parameters"])
        load_moments(self.algorithm.policy.optimizer, state["optimizer"])
        self.algorithm.generator.set_state(state["generator"])
        self.algorithm.num_timesteps, self.algorithm._n_updates = self.env_steps, int(state["updates"])
