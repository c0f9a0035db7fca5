"""Pictures of episodes: the inputs by their named parts, and the agent's answers against the targets."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray
from torch import Tensor

from plastic_envs.core.task import Episode, Slice, Task
from plastic_envs.utils.errors import MissingExtraError

try:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.ticker import MaxNLocator
except ImportError:
    raise MissingExtraError("a picture of an episode", "plots") from None

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
    figure: Figure,
    title: str,
    slices: Mapping[str, Slice],
    episode: Episode,
    actions: Sequence[Tensor],
    upto: int,
    classes: int | None,
) -> None:
    """Draw an open-loop episode: a strip over time for each part of the input, below them answers and targets.

    Args:
        figure: where to draw, empty.
        title: what stands above.
        slices: the parts of the input.
        episode: one of them, inputs (T, D) and all else.
        actions: the agent's answers so far, numbers (K,) or classes () each.
        upto: how many steps of the episode to show.
        classes: how many there are; None where answers are numbers.
    """
    horizon = len(episode.inputs)
    width, height = figure.get_size_inches() * figure.dpi
    top = height - TOP
    figure.text(LEFT / width, 1 - 0.6 * TOP / height, title, va="center", fontsize=9)
    for name, part in slices.items():
        values = episode.inputs[:, part.columns].numpy(force=True).copy()  # (T, size)
        scale = float(np.abs(values).max())
        values[upto:] = np.nan
        step_width = (width - LEFT - RIGHT) / horizon
        strip = _strip_height(part, step_width)
        axes = _add_axes(figure, top - strip, strip, horizon, name)
        image = _draw_strip(
            axes, values, part, scale, None if step_width >= LEGIBLE else (upto - 1, strip / step_width)
        )
        if (shown := image.get_array()) is not None and shown.ndim == 2:  # what is in colours has no scale
            _add_scale(figure, image, top - strip, strip)
        top -= strip + GAP
    axes = _add_axes(figure, BOTTOM, top - BOTTOM, horizon, "")
    axes.set_ylabel(_answers_name(episode.targets, classes), fontsize=9)
    axes.yaxis.label.set(rotation=90, ha="center", va="bottom")
    axes.set_facecolor("white")
    axes.set_xlabel("step (shaded: the steps that are scored)", fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(labelsize=8, bottom=True, labelbottom=True, left=True, labelleft=True)
    _draw_answers(axes, episode, actions, upto, classes)
    place = (1 - GAP / width, 1 - 0.6 * TOP / height)
    style = {"fontsize": 9, "ncols": 2, "frameon": False, "borderaxespad": 0, "handletextpad": 0, "columnspacing": 0.5}
    figure.legend(loc="center right", bbox_to_anchor=place, **style)


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


def _answers_name(targets: Tensor, classes: int | None) -> str:
    """What answers are; of several numbers a step, which one is drawn."""
    if classes is not None:
        return "class"
    return "output" if targets.shape[1] == 1 else f"output 1 of {targets.shape[1]}"


def _draw_answers(axes: Axes, episode: Episode, actions: Sequence[Tensor], upto: int, classes: int | None) -> None:
    """Answers and targets of the steps so far; the steps of the metric are shaded, those of no loss are pale."""
    counted = (episode.loss_mask | episode.metric_mask).numpy(force=True)
    edges = np.arange(len(counted) + 1) - 0.5
    scored = episode.metric_mask.numpy(force=True).astype(float)
    axes.stairs(scored, edges, fill=True, color=SCORED, transform=axes.get_xaxis_transform())
    targets, answers = (_first_numbers(part) for part in (episode.targets, actions))
    shown = np.flatnonzero(counted[:upto])
    both = shown[shown < len(answers)]
    axes.vlines(both, targets[both], answers[both], color=ANSWER, linewidth=1)
    axes.scatter(shown, targets[shown], 44, facecolors="none", edgecolors=TARGET, linewidths=1.2, label="target")
    axes.scatter(both, answers[both], 18, color=ANSWER, zorder=3, label="answer")
    others = np.setdiff1d(np.arange(len(answers)), both)
    axes.scatter(others, answers[others], 18, color=ANSWER, alpha=0.25)
    if classes is not None:
        axes.set_ylim(-0.6, classes - 0.4)
        axes.set_yticks(range(0, classes, 1 + classes // 16))
    else:
        limit = 1.2 * float(np.abs(targets[counted]).max()) or 1.0
        axes.set_ylim(-limit, limit)


def _first_numbers(steps: Iterable[Tensor]) -> NDArray[Any]:
    """The number of each step (), of several (K,) the first."""
    return np.array([step.detach().flatten()[0].item() for step in steps])
