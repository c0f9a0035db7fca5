"""Open-loop tasks: write `sample`, and reset, step, reward, loss and metric follow."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from plastic_envs.core.schedule import at_time, replace_time
from plastic_envs.core.task import SHARES, Episode, Metric, Predictor, Step, Task, real, replace_rows
from plastic_envs.core.task_checks import check_measure, drawn
from plastic_envs.utils.errors import UsageError, WrongTypeError
from plastic_envs.utils.finite import check_finite, found
from plastic_envs.utils.limits import check_episodes


class SupervisedState(NamedTuple):
    """Where a batch of supervised episodes stands.

    `time` is the step that all episodes have reached, or (B,) if some were begun later than others.
    """

    episode: Episode
    time: int | Tensor


class SupervisedTask(Task):
    """A task whose observations do not depend on the agent's actions, with a target at every scored step.

    Subclasses set `horizon`, `slices` and `output_size` in `__init__` (see `Task`), whatever else differs from the
    values below, and write `sample`.

    Attributes:
        action_kind: "box", or "discrete" if targets are classes.
        chance: The metric of an agent that knows nothing of the episode; not a number if nobody worked it out.
        best: A bound that no agent's expected metric passes and `oracle` reaches, where it is known.
        references: Predictors that see only the inputs, shown beside every result: functions of an `Episode` that
            return outputs (T, B, K).
        oracle: A predictor that reaches `best`; it may use what is hidden from the agent.
        first_query: The step from which on only queries follow, if they may be answered in any order: observations
            with an all-zero label. No earlier step is scored.
    """

    has_targets: ClassVar[bool] = True
    action_kind: Literal["box", "discrete"] = "box"
    chance: float = math.nan
    best: float | None = None
    first_query: int | None = None
    references: Mapping[str, Predictor] = MappingProxyType({})
    oracle: Predictor | None = None

    @cached_property
    def metric_kind(self) -> Metric:  # type: ignore[override]  # it can be set, too
        """The accuracy if actions are discrete, otherwise the squared error."""
        return "accuracy" if self.action_kind == "discrete" else "squared error"

    @abstractmethod
    def sample(self, batch_size: int, generator: torch.Generator) -> Episode:
        """Draw whole episodes on the generator's device; all randomness of the task lies here."""

    def checked_sample(self, batch_size: int, generator: torch.Generator) -> Episode:
        """Draw whole episodes by `sample`.

        Targets that no mask counts are 0 where they are no classes, or not finite.

        Raises:
            UsageError: they have not the form that `Episode` tells, hold what is not finite where it counts, or were
                drawn from torch's global generator.
        """
        check_episodes(self, batch_size)
        episode: Episode = drawn(self, "sample", batch_size, generator)
        name = f"{type(self).__name__}.sample"
        check_form(self, name, episode, batch_size)
        return checked_values(self, name, episode)

    def reset(self, batch_size: int, generator: torch.Generator) -> tuple[SupervisedState, Tensor]:
        """Draw episodes and show their first observation (B, D)."""
        episode = self.checked_sample(batch_size, generator)
        return SupervisedState(episode, 0), episode.inputs[0]

    def step(self, state: SupervisedState, action: Tensor) -> Step:
        """Pay for the action at the current step and show the next observation; zeros after the last.

        Args:
            state: from `reset` or the step before; what episodes that have ended give means nothing.
            action: (..., B, K) numbers for a box, (..., B) classes if discrete.
        """
        episode, time = state
        inputs, targets, loss_mask, metric_mask = (
            at_time(part, time) for part in (episode.inputs, episode.targets, episode.loss_mask, episode.metric_mask)
        )
        metric = real(self.step_metric(action, targets, inputs))  # (..., B)
        reward = self.step_reward(metric, action, targets).where(loss_mask, 0.0)
        following = time + 1
        if isinstance(following, int):
            terminated = torch.full_like(loss_mask, following == self.horizon)
        else:
            terminated = following == self.horizon
        return Step(
            SupervisedState(episode, following),
            at_time(episode.inputs, following),
            reward,
            terminated,
            metric,
            metric_mask,
        )

    def replace(self, state: SupervisedState, mask: Tensor, fresh: SupervisedState) -> SupervisedState:
        """The state with the episodes of `mask` (B,) replaced by those of the state `fresh`, in order."""
        episode = Episode(**replace_rows(vars(state.episode), mask, vars(fresh.episode), dim=1))
        return SupervisedState(episode, replace_time(state.time, mask, fresh.time))

    def draw(self, figure: Any, state: SupervisedState, index: int, actions: Sequence[Tensor]) -> None:
        """Draw one of the episodes so far: the inputs by their parts, answers against targets."""
        from plastic_envs.rendering.episode import draw_episode  # draws with matplotlib, which is optional

        episode = state.episode.map(lambda part: part[:, index])
        upto = min(len(actions) + 1, self.horizon)  # the agent has not yet answered the last step shown
        classes = self.output_size if self.action_kind == "discrete" else None
        title = self.caption(episode, actions, upto)
        draw_episode(figure, title, self.slices, episode, actions, upto, classes)

    def caption(self, episode: Episode, actions: Sequence[Tensor], upto: int) -> str:
        """What stands above a picture of one episode (T, ...): task, step, and the metric of the answers so far."""
        title = f"{type(self).__name__} · step {upto}/{self.horizon}"
        answered = len(actions)
        mask = episode.metric_mask[:answered]
        if not mask.any():
            return title
        taken = torch.stack(tuple(actions)).detach()
        metric = self.step_metric(taken, episode.targets[:answered], episode.inputs[:answered])[mask].mean()
        score = f"{100 * metric:.1f}%" if self.metric_kind in SHARES else f"{metric:.3f}"
        return f"{title} · {self.metric_kind} {score}"

    def step_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of every step, not masked: outputs (..., T, B, K) against targets (T, B[, K]) → (..., T, B)."""
        if self.action_kind == "discrete":
            target = targets.expand(outputs.shape[:-1])
            loss = functional.cross_entropy(outputs.flatten(0, -2), target.flatten(), reduction="none")
            return loss.view(target.shape)
        return mean_square(outputs - targets)

    def step_metric(self, action: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """Metric of every step, not masked: squared error, or 1 for the right class: (..., B).

        Args:
            action: (..., B, K) numbers for a box, (..., B) classes if discrete.
            targets: (B, K) or (B,).
            inputs: (B, D), what was observed before the action.
        """
        if self.action_kind == "discrete":
            return (action == targets).float()
        return mean_square(action - targets)

    def step_reward(self, metric: Tensor, action: Tensor, targets: Tensor) -> Tensor:
        """What the environment pays on a loss step with this metric (..., B): more for a better one."""
        return metric if self.higher_is_better else -metric

    def loss(self, outputs: Tensor, episode: Episode) -> Tensor:
        """Mean loss over the steps of `loss_mask`, an episode each: (..., T, B, K) → (..., B)."""
        mask = episode.loss_mask
        values = self.step_loss(counted(outputs, mask), counted(episode.targets, mask))
        return masked_mean(self._of_each_step("step_loss", values, outputs), mask)

    def metric(self, outputs: Tensor, episode: Episode) -> Tensor:
        """Squared error or accuracy over the steps of `metric_mask`, an episode each: (..., T, B, K) → (..., B)."""
        mask = episode.metric_mask
        action, targets = self.action(counted(outputs, mask)), counted(episode.targets, mask)
        values = self._of_each_step("step_metric", self.step_metric(action, targets, episode.inputs), outputs)
        if self.action_kind == "discrete":  # the largest output is one that is no number
            values = real(values).masked_fill(outputs.isnan().any(-1), math.nan)
        return masked_mean(values, mask)

    def _of_each_step(self, name: str, values: object, outputs: Tensor) -> Tensor:
        """What a method that may be a user's own gave for outputs (..., T, B, K), if it is (..., T, B) numbers.

        Raises:
            UsageError: it is of another shape, which would be spread over episodes that it does not belong to.
        """
        wanted = tuple(outputs.shape[:-1])
        if not isinstance(values, Tensor) or tuple(values.shape) != wanted:
            found = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise UsageError(
                f"{type(self).__name__}.{name} must give a number for each step and episode, a tensor {wanted}, "
                f"not {found}"
            )
        return values

    def score_of(self, name: str, predict: Predictor, episode: Episode) -> Tensor:
        """The metric (B,) of a predictor, of the name, which gets a copy of the episodes.

        Raises:
            UsageError: it gives something else than numbers (T, B, K), or what is not finite where the metric counts.
        """
        outputs = predict(episode.map(Tensor.clone))
        name, wanted = f"{type(self).__name__}'s reference {name!r}", (*episode.inputs.shape[:2], self.output_size)
        if not isinstance(outputs, Tensor) or tuple(outputs.shape) != wanted or outputs.is_complex():
            found = f"{outputs.dtype} {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
            raise UsageError(f"{name} must give outputs as a tensor {wanted}, not {found}")
        outputs = real(outputs)
        numbers = outputs.masked_fill(outputs.isinf(), 0) if self.action_kind == "discrete" else outputs
        check_finite(f"{name} must give finite outputs", numbers, ("step", "episode"), episode.metric_mask)
        metric = check_measure(self, "metric", self.metric(outputs, episode), outputs)
        check_finite(f"{name} must have a finite metric", metric, ("episode",))
        return metric

    def zeros(self, episode: Episode) -> Tensor:
        """The reference predictor that always puts out 0: (T, B, K)."""
        return episode.inputs.new_zeros(*episode.inputs.shape[:2], self.output_size)


def check_form(
    task: SupervisedTask, what: str, episode: object, batch_size: int, floats: torch.dtype = torch.float32
) -> None:
    """Refuse what is not of the form of this task's episodes: a user's `sample` may return anything."""
    if not isinstance(episode, Episode):
        raise WrongTypeError(f"{what} must return a plastic_envs.Episode, not a {type(episode).__name__}")
    steps, discrete = (task.horizon, batch_size), task.action_kind == "discrete"
    wanted = {
        "inputs": ((*steps, task.observation_size), floats),
        "targets": (steps, torch.int64) if discrete else ((*steps, task.output_size), floats),
        "loss_mask": (steps, torch.bool),
        "metric_mask": (steps, torch.bool),
    }
    for name, (shape, dtype) in wanted.items():
        part = getattr(episode, name)
        if not isinstance(part, Tensor):
            raise WrongTypeError(f"{what}: {name} must be a tensor, not a {type(part).__name__}")
        if part.shape != shape or part.dtype != dtype:
            raise UsageError(f"{what}: {name} must be {dtype} {shape}, not {part.dtype} {tuple(part.shape)}")


def checked_values(task: SupervisedTask, what: str, episode: Episode) -> Episode:
    """The episodes, with 0 for those targets that no mask counts and that sums could not leave out.

    Raises:
        UsageError: a mask counts no step of an episode, or what counts is not finite, or no class.
    """
    for name in ("loss_mask", "metric_mask"):
        if not getattr(episode, name).any(0).all():
            raise UsageError(f"{what}: {name} must be true for at least one step of every episode")
    check_finite(f"{what}: inputs must be finite", episode.inputs, ("step", "episode"))
    targets = episode.targets
    if task.action_kind == "discrete":
        allowed = (targets >= 0) & (targets < task.output_size)
        usual, must = allowed, f"classes from 0 to {task.output_size - 1}"
    elif math.isfinite(targets.square().sum().item()):  # one pass, as nearly always
        return episode
    else:
        allowed, usual, must = targets.isfinite(), targets.square().isfinite(), "finite"
    if usual.all():
        return episode
    counts = episode.loss_mask | episode.metric_mask
    counts = counts if targets.dim() == 2 else counts.unsqueeze(-1)  # (T, B) or (T, B, 1)
    if (wrong := counts & ~allowed).any():
        where = "at the steps of loss_mask and metric_mask"
        raise UsageError(f"{what}: targets must be {must} {where}, not {found(targets, wrong, ('step', 'episode'))}")
    return replace(episode, targets=targets.where(usual | counts, 0))


def mean_square(error: Tensor) -> Tensor:
    """Mean of the squares over the last dimension: (..., K) → (...)."""
    square = error.square()
    return square.squeeze(-1) if square.shape[-1] == 1 else square.mean(-1)  # a mean of one costs as much as all else


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the steps in `mask` (T, B) of `values` (..., T, B), whatever the others are: (..., B)."""
    return values.where(mask, 0.0).sum(-2) / mask.sum(-2)


def counted(values: Tensor, mask: Tensor) -> Tensor:
    """Outputs (..., T, B, K), targets alike or classes (T, B), with 0 at the steps that the mask (T, B) leaves out.

    Before anything is computed: a loss of NaN that is left out afterwards still has a gradient of NaN.
    """
    return values.where(mask if values.dim() == 2 else mask.unsqueeze(-1), 0)


def during(steps: Tensor, batch_size: int) -> Tensor:
    """A mask (T, B) out of the steps (T,) that every episode scores."""
    return steps.unsqueeze(1).expand(-1, batch_size)
