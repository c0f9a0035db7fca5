"""What Stable-Baselines3's algorithms need to learn from whole episodes of a task, lived as one batch of tensors."""

import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from evolution.searchers.policy_gradient.lives import Lives, live
from evolution.searchers.policy_gradient.sb3_policy import (
    AgentPolicy,  # before anything of Stable-Baselines3: it says if that is missing
)
from plastic_envs.core.task import Task
from plastic_envs.utils.errors import WrongTypeError

# isort: split
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from stable_baselines3.common.vec_env import VecEnv


class EpisodeBuffer(RolloutBuffer):
    """A rollout buffer of whole episodes, whose minibatches are whole episodes too; it remembers no states.

    Steps after an episode's end are left out of every sample.
    """

    lives: Lives | None
    generator: torch.Generator

    def reset(self) -> None:
        """Forget all episodes."""
        self.lives = None
        self.pos, self.full = 0, False

    def fill(self, lives: Lives, values: Tensor, log_probs: Tensor, generator: torch.Generator) -> None:
        """Keep episodes, the values (T, B) of their steps and the logarithms of their actions' probabilities (T, B).

        Args:
            lives: The episodes.
            values: Those of steps after an end count as 0.
            log_probs: As the agent that lived them had it.
            generator: Draws the order of minibatches.
        """
        self.lives, self.generator = lives, generator
        self.buffer_size = self.pos = len(values)
        self.full = True
        self.rewards, self.log_probs = lives.rewards.numpy(force=True), log_probs.numpy(force=True)
        self.values = values.where(lives.active, 0.0).numpy(force=True)
        self.advantages, self.episode_starts = np.zeros_like(self.values), np.zeros_like(self.values)
        self.compute_returns_and_advantage(
            torch.zeros(self.n_envs, dtype=torch.float32), np.ones(self.n_envs, np.bool_)
        )

    def get(self, batch_size: int | None = None) -> Iterator[RolloutBufferSamples]:  # type: ignore[override]
        """All episodes as one sample, or in random order as many at once as have `batch_size` steps."""
        assert self.lives is not None
        if batch_size is None:
            yield self._samples(self.lives, slice(None))
            return
        order = torch.randperm(self.n_envs, generator=self.generator, device=self.generator.device)
        for rows in order.chunk(-(-self.n_envs * self.buffer_size // batch_size)):
            yield self._samples(self.lives[rows], rows)

    def _samples(self, lives: Lives, rows: Tensor | slice) -> RolloutBufferSamples:
        parts = (self.values, self.log_probs, self.advantages, self.returns)
        active = lives.active
        flat = [torch.from_numpy(part).to(active.device)[:, rows][active] for part in parts]
        return RolloutBufferSamples(lives, lives.actions[active], *flat)  # type: ignore[arg-type]


class WholeEpisodes(OnPolicyAlgorithm):
    """Turns an on-policy algorithm of SB3 into one whose rollouts are one whole episode in each copy of a task.

    Episodes are lived as one batch of tensors; the environments tell the task and the number of copies, and are not
    stepped. Gradients reach back through every step. Losses, updates, logging, callbacks, `save`, `load` and `predict`
    are SB3's. Callbacks hear of the steps when the episodes are over.

    An agent's normalisation of observations goes on counting at the end of each update.

    Raises:
        UsageError: the environments are not those of a task.
    """

    acts_with_gradient: ClassVar[bool]
    """Whether the one update of the episodes uses the gradient kept while they were lived, and none are lived again."""

    policy: AgentPolicy  # type: ignore[assignment]
    rollout_buffer: EpisodeBuffer
    generator: torch.Generator
    """Draws the episodes, births and actions, and the order of minibatches."""
    mean_reward: float
    """Of the episodes lived last, summed over each."""

    @property
    def task(self) -> Task:
        """The task whose environments these are."""
        assert self.env is not None
        task = self.env.get_attr("task")[0] if self.env.has_attr("task") else None
        if not isinstance(task, Task):
            raise WrongTypeError(
                f"{type(self).__name__} needs environments of a task, as SB3VecEnv makes of TaskVectorEnv"
            )
        return task

    def _setup_model(self) -> None:
        self.rollout_buffer_class = EpisodeBuffer
        if self.env is not None:
            self.n_steps = self.task.horizon
        super()._setup_model()
        self.generator = torch.Generator(self.device)
        if self.seed is None:
            self.generator.seed()
        else:
            self.generator.manual_seed(self.seed)

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Live one episode in each copy; False if a callback says to stop."""
        callback.on_rollout_start()
        policy = self.policy
        with nullcontext() if self.acts_with_gradient else torch.no_grad():
            lives = live(policy.agent, self.task, env.num_envs, self.generator, getattr(policy, "log_std", None))
        with torch.no_grad():
            flat = (part.flatten(0, 1) for part in (lives.outputs, lives.activity, lives.actions))
            values, log_probs, _ = policy.judge(*flat)
        self.rollout_buffer.fill(lives, values.view_as(lives.rewards), log_probs.view_as(lives.rewards), self.generator)
        self._note_episodes(lives)
        # callbacks hold what they are told in a cycle: with the gradients the memory of every update would stay
        told = {"self": self, "env": env, "callback": callback, "rollout_buffer": rollout_buffer}
        callback.update_locals(told | {"lives": lives.detach()})
        for living in lives.active.sum(1).tolist():
            self.num_timesteps += living
            if not callback.on_step():
                return False
        callback.on_rollout_end()
        return True

    def _note_episodes(self, lives: Lives) -> None:
        """Tell the logger rewards and lengths, as SB3's Monitor would."""
        assert self.ep_info_buffer is not None
        totals, lengths = lives.rewards.sum(0), lives.active.sum(0).tolist()
        self.mean_reward = float(totals.mean())
        now = round(time.time() - self.start_time / 1e9, 6)
        self.ep_info_buffer.extend(
            {"r": r, "l": length, "t": now} for r, length in zip(totals.tolist(), lengths, strict=True)
        )

    def train(self) -> None:
        """Update the policy from the episodes lived last."""
        super().train()
        lives, normaliser = self.rollout_buffer.lives, self.policy.agent.normaliser
        if normaliser is not None and lives is not None and lives.seen is not None:
            normaliser.update(lives.seen)
        self.rollout_buffer.reset()

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "generator"]
