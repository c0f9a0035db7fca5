"""Pictures of episodes: the inputs by their named parts, and the agent's answers against the targets."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray
from torch import Tensor

from plastic_envs.errors import MissingExtraError
from plastic_envs.task import Episode, Slice, Task

try:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.ticker import MaxNLocator
except ImportError:
    raise MissingExtraError("a picture of an episode", "plots") from None

if TYPE_CHECKING:
    from plastic_envs.supervised import SupervisedTask

SIZE = (640, 480)  # of a frame, in pixels
LEFT, RIGHT, TOP, BOTTOM, GAP = 84, 56, 34, 44, 10  # margins and the space between parts, in pixels
LEGIBLE, THUMBNAIL = 10, 100  # pixels: the least width of one image beside others, and the height of one alone
FUTURE, SCORED, TARGET, ANSWER = "#eeeeee", "#e3ecf7", "black", "tab:orange"


class Renderer:
    """Draws the episodes that environments are in, from their state and what was done since each began."""

    def __init__(self, task: Task, num_envs: int) -> None:
        self._task = task
        self._state: Any = None
        self._actions: list[list[Tensor]] = [[] for _ in range(num_envs)]
        self._figure = Figure(figsize=(SIZE[0] / 100, SIZE[1] / 100), dpi=100)
        self._canvas = FigureCanvasAgg(self._figure)

    def restart(self, state: Any, indices: Iterable[int]) -> None:
        """Forget what was done in environments that have begun a new episode."""
        self._state = state
        for index in indices:
            self._actions[index] = []

    def record(self, state: Any, actions: Tensor, indices: Iterable[int]) -> None:
        """Remember the actions (n, ...) that were taken in some of the environments, and the state after them."""
        self._state = state
        for index in indices:
            self._actions[index].append(actions[index])

    def frame(self, index: int) -> NDArray[np.uint8]:
        """The picture (480, 640, 3) of one environment's episode so far."""
        if self._state is None:
            raise ResetNeeded("call reset() before render()")
        self._figure.clear()
        self._task.draw(self._figure, self._state, index, self._actions[index])
        self._canvas.draw()  # type: ignore[no-untyped-call]
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def draw_episode(
    task: "SupervisedTask",
    episode: Episode,
    outputs: Tensor,
    upto: int | None = None,
    figure: Figure | None = None,
    index: int = 0,
) -> Figure:
    """Draw an open-loop episode: a strip over time for each part of the input, below them answers and targets.

    Args:
        task: the task that the episode is of.
        episode: inputs (T, B, D) and all else.
        outputs: the agent's (T, B, K), or fewer rows: answers are drawn as far as there are some.
        upto: how many steps of the episode to show, all T by default.
        figure: where to draw, empty; a new one by default.
        index: which of the B episodes.

    Returns:
        The figure.
    """
    if figure is None:
        figure = Figure(figsize=(SIZE[0] / 100, SIZE[1] / 100), dpi=100)
    upto = task.horizon if upto is None else upto
    episode = episode.map(lambda part: part[:, index])  # (T, ...)
    actions = task.action(outputs[:, index]).detach()  # (t,) or (t, K)
    width, height = figure.get_size_inches() * figure.dpi
    top = height - TOP
    figure.text(LEFT / width, 1 - 0.6 * TOP / height, _title(task, episode, actions, upto), va="center", fontsize=9)
    for name, part in task.slices.items():
        values = episode.inputs[:, part.columns].numpy(force=True).copy()  # (T, size)
        scale = float(np.abs(values).max())
        values[upto:] = np.nan
        step_width = (width - LEFT - RIGHT) / task.horizon
        strip = _strip_height(part, step_width)
        axes = _add_axes(figure, top - strip, strip, task.horizon, name)
        image = _draw_strip(
            axes, values, part, scale, None if step_width >= LEGIBLE else (upto - 1, strip / step_width)
        )
        if (shown := image.get_array()) is not None and shown.ndim == 2:  # what is in colours has no scale
            _add_scale(figure, image, top - strip, strip)
        top -= strip + GAP
    axes = _add_axes(figure, BOTTOM, top - BOTTOM, task.horizon, "")
    axes.set_ylabel(_answers_name(task), fontsize=9)
    axes.yaxis.label.set(rotation=90, ha="center", va="bottom")
    axes.set_facecolor("white")
    axes.set_xlabel("step (shaded: the steps that are scored)", fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(labelsize=8, bottom=True, labelbottom=True, left=True, labelleft=True)
    _draw_answers(axes, task, episode, actions, upto)
    place = (1 - GAP / width, 1 - 0.6 * TOP / height)
    style = {"fontsize": 9, "ncols": 2, "frameon": False, "borderaxespad": 0, "handletextpad": 0, "columnspacing": 0.5}
    figure.legend(loc="center right", bbox_to_anchor=place, **style)
    return figure


def _title(task: "SupervisedTask", episode: Episode, actions: Tensor, upto: int) -> str:
    """The task, the step, and the metric of the steps answered so far."""
    title = f"{type(task).__name__} · step {upto}/{task.horizon}"
    answered = min(len(actions), upto)
    mask = episode.metric_mask[:answered]
    if not mask.any():
        return title
    metric = task.step_metric(actions[:answered], episode.targets[:answered], episode.inputs[:answered])[mask].mean()
    score = f"{100 * metric:.1f}%" if task.metric_kind == "accuracy" else f"{metric:.3f}"
    return f"{title} · {task.metric_kind} {score}"


def _strip_height(part: Slice, step_width: float) -> float:
    """Pixels for a part of the input: images keep their proportions, vectors get a few pixels a number."""
    if len(part.shape) >= 2:
        if step_width < LEGIBLE:
            return THUMBNAIL
        return min(step_width * part.shape[-2] / part.shape[-1], 120)
    return min(max(7 * (part.stop - part.start), 16), 105)


def _add_axes(figure: Figure, bottom: float, height: float, horizon: int, name: str) -> Axes:
    """Axes over the steps of an episode, placed in pixels, with the name on the left."""
    full_width, full_height = figure.get_size_inches() * figure.dpi
    place = (LEFT / full_width, bottom / full_height, 1 - (LEFT + RIGHT) / full_width, height / full_height)
    axes = figure.add_axes(place, facecolor=FUTURE)
    axes.set_xlim(-0.5, horizon - 0.5)
    axes.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
    axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for spine in axes.spines.values():
        spine.set_linewidth(0.5)
    return axes


def _add_scale(figure: Figure, image: AxesImage, bottom: float, height: float) -> None:
    """What the colours of a strip stand for, on its right: the lowest number and the highest."""
    width, full_height = figure.get_size_inches() * figure.dpi
    place = ((width - RIGHT + 6) / width, bottom / full_height, 8 / width, height / full_height)
    axes = figure.add_axes(place, label="scale")
    low, high = image.get_clim()
    bar = figure.colorbar(image, cax=axes, ticks=[low, high], format=lambda value, _: f"{value:.2g}".replace("-", "−"))
    bar.outline.set_linewidth(0.5)
    axes.tick_params(labelsize=6, length=2, width=0.5, pad=1)


def _draw_strip(
    axes: Axes, values: NDArray[np.float32], part: Slice, scale: float, alone: tuple[int, float] | None
) -> AxesImage:
    """One part of the input over time: a column of numbers per step (T, size), or an image per step.

    If all images would be too small, `alone` says which step's is drawn, and the strip's height in widths of a step.
    """
    horizon = len(values)
    left, right = -0.5, horizon - 0.5
    if len(part.shape) >= 2:
        images = values.reshape(horizon, *part.shape)
        if len(part.shape) == 3:  # colours: red, green and blue as they are, any others by their mean
            images = np.moveaxis(images, 1, -1) if part.shape[0] == 3 else images.mean(1)
        if alone is not None:
            step, height = alone
            picture = images[step]
            image_width = height * part.shape[-1] / part.shape[-2]
            left = min(max(step - image_width / 2, left), right - image_width)
            right = left + image_width
        else:  # side by side, a gap after each
            gap = [(0, 0), (0, 0), (0, 1), (0, 0)][: images.ndim]
            picture = np.concatenate(list(np.pad(images, gap, constant_values=np.nan)), axis=1)
        picture = np.nan_to_num(picture, nan=1.0) if picture.ndim == 3 else picture
    else:
        picture = values.T[::-1]  # the first number at the bottom, as in the axes of the answers
    signed = bool((values < 0).any())
    return axes.imshow(
        picture,
        cmap="RdBu_r" if signed else "Greys",
        vmin=-scale if signed else 0,
        vmax=scale or 1,
        extent=(left, right, 0, 1),
        aspect="auto",
        interpolation="nearest",
    )


def _answers_name(task: "SupervisedTask") -> str:
    """What answers are; of several numbers a step, which one is drawn."""
    if task.action_kind == "discrete":
        return "class"
    return "output" if task.output_size == 1 else f"output 1 of {task.output_size}"


def _draw_answers(axes: Axes, task: "SupervisedTask", episode: Episode, actions: Tensor, upto: int) -> None:
    """Answers and targets of the steps so far; the steps of the metric are shaded, those of no loss are pale."""
    counted = (episode.loss_mask | episode.metric_mask).numpy(force=True)
    edges = np.arange(task.horizon + 1) - 0.5
    scored = episode.metric_mask.numpy(force=True).astype(float)
    axes.stairs(scored, edges, fill=True, color=SCORED, transform=axes.get_xaxis_transform())
    # Of several numbers a step, the first is drawn.
    targets, answers = (
        (part[:, 0] if part.dim() > 1 else part).numpy(force=True) for part in (episode.targets, actions)
    )
    shown = np.flatnonzero(counted[:upto])
    both = shown[shown < len(answers)]
    axes.vlines(both, targets[both], answers[both], color=ANSWER, linewidth=1)
    axes.scatter(shown, targets[shown], 44, facecolors="none", edgecolors=TARGET, linewidths=1.2, label="target")
    axes.scatter(both, answers[both], 18, color=ANSWER, zorder=3, label="answer")
    others = np.setdiff1d(np.arange(len(answers)), both)
    axes.scatter(others, answers[others], 18, color=ANSWER, alpha=0.25)
    if task.action_kind == "discrete":
        axes.set_ylim(-0.6, task.output_size - 0.4)
        axes.set_yticks(range(0, task.output_size, 1 + task.output_size // 16))
    else:
        limit = 1.2 * float(np.abs(targets[counted]).max()) or 1.0
        axes.set_ylim(-limit, limit)


def one_hot_outputs(task: Task, actions: Sequence[Tensor]) -> Tensor:
    """Outputs (t, 1, K) that stand for the actions taken in one environment."""
    if not actions:
        return torch.zeros(0, 1, task.output_size)
    taken = torch.stack(tuple(actions)).unsqueeze(1)
    return torch.nn.functional.one_hot(taken, task.output_size).float() if task.action_kind == "discrete" else taken
