"""`report.html` of a comparison or a single run: one file that opens offline, and its figures as files."""

import base64
import json
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from evolution.reports import tables
from evolution.reports.experiment import Experiment, read_experiment
from evolution.reports.summary import Summary
from evolution.reports.verdicts import METHOD, headline, verdicts
from evolution.runs.progress import counted
from evolution.runs.run_folder import load_agent
from plastic_envs.core.supervised import SupervisedTask
from plastic_envs.utils.errors import MissingExtraError
from plastic_envs.utils.writing import write_atomically

FIGURES = {
    "learning": (
        "Learning curves",
        "Held-out score over the budget: mean over seeds with its 95% Student-t interval, every seed faint. Colours "
        "are rules, line styles and marks searchers; where lines coincide, the thicker shows beside the thinner. "
        "Thin grey lines are the references.",
    ),
    "scores": (
        "Final scores",
        "At the end of the budget: every seed a point, beside it the mean with its 95% Student-t interval; of a single "
        "seed a thin line, the 95% bootstrap interval of its evaluation. Worse errors than three times the worst "
        "reference are written at the top.",
    ),
    "generations": (
        "Generations",
        "Fitness of the individuals (median, quartiles shaded pale) and how much they differ, over the search; and, "
        "where it is paid step by step, the mean reward of a step in each tenth of life, in the last tenth of the "
        "generations. Means over seeds with 95% "
        "Student-t intervals.",
    ),
    "film": (
        "Film",
        "The first held-out episode, not chosen, lived by the agent of the first seed of the best rule.",
    ),
    "rate": (
        "Internal learning rate",
        "How fast agents let their own weights change at every step, mean over held-out episodes; rules without a "
        "learning rate are left out.",
    ),
    "episode": (
        "Sample episode",
        "A held-out episode, not chosen: the first one, lived by the agent of the first seed.",
    ),
    "weights": (
        "Fast weights",
        "In the same episode, lived by the first seed of the best rule: every layer's fast weights after some steps, "
        "rows for the sending (presynaptic) units from the first at the top, columns for the receiving (postsynaptic) "
        "ones, and below their norm and the modulator over the episode.",
    ),
}
"""Title and caption of every kind of figure."""


def report(folder: str | Path, *, trust: Collection[str] = ()) -> Path:
    """Write `report.html` and `figures/*.png`, each of them also as `.svg`, into a comparison's or a run's folder.

    Args:
        folder: as `compare` or `train` wrote it; runs may still be missing.
        trust: names `module:Name` of your own tasks and rules that the folder may name; importing one runs its module.

    Returns:
        The path of the HTML file.

    Raises:
        UsageError: there is no comparison or run here, or it names code that is not trusted.
        MissingExtraError: matplotlib is absent.
    """
    experiment = read_experiment(Path(folder), trust)
    parts = [_part(experiment, summary, number) for number, summary in enumerate(experiment.summaries, 1)]
    page = _template().render(
        title="Plastic agents: found by gradients, found by evolution" if experiment.is_comparison else "One run",
        lead=_lead(experiment),
        headlines=[headline(summary) for summary in experiment.summaries] or ["This comparison names no runs."],
        parts=parts,
        method=METHOD,
        command=experiment.command,
        settings=json.dumps(experiment.settings, indent=2),
        versions=experiment.versions,
    )
    path = Path(folder) / "report.html"
    write_atomically(path, page.encode())
    return path


def _part(experiment: Experiment, summary: Summary, number: int) -> dict[str, Any]:
    """What the template shows of one task."""
    name, _, options = summary.task.partition(",")
    return {
        "name": name,
        "options": options.replace(",", ", "),
        "setting": tables.setting(summary),
        "columns": tables.columns(summary),
        "rows": _rows(summary),
        "references": tables.references(summary),
        "notes": tables.notes(summary),
        "verdicts": verdicts(summary),
        "images": _images(experiment, summary, number),
    }


def _rows(summary: Summary) -> list[dict[str, Any]]:
    plots = _plots()
    best = summary.best(summary.cells)
    return [
        {
            "texts": texts,
            "colour": plots.colour(rule, summary.rules),
            "best": [
                column
                for column, searcher in enumerate(summary.searchers, 1)
                if best and (cell := summary.find(rule, searcher)) and (cell is best or summary.ties(cell, best))
            ],
        }
        for rule, texts in zip(summary.rules, tables.rows(summary), strict=True)
    ]


def _images(experiment: Experiment, summary: Summary, number: int) -> list[dict[str, Any]]:
    """Draw the figures that there is something to draw for."""
    from evolution.evaluation import inside

    plots = _plots()
    from evolution.reports import film
    from evolution.reports.plots import generations as plots_generations
    from evolution.reports.plots import inside as plots_inside

    stem = f"{number:02d}-{re.sub(r'[^A-Za-z0-9.=-]+', '_', summary.task)}"
    figures = experiment.folder / "figures"
    task = experiment.tasks[summary.task].held_out()
    drawn: list[tuple[str, str, Callable[[Path], None]]] = []
    if any(run.history for cell in summary.cells for run in cell.runs):
        drawn.append(("learning", "", lambda path: plots.learning_curves(summary, path)))
    if any(cell.interval for cell in summary.cells):
        drawn.append(("scores", "", lambda path: plots.final_scores(summary, path)))
    if any(plots_generations.steps_of(cell) for cell in summary.cells):
        drawn.append(("generations", "", lambda path: plots_generations.generations(summary, path)))
    best = summary.best(summary.cells)
    if best is not None and not isinstance(task, SupervisedTask) and task.has_pictures:
        agent = load_agent(best.finished[0].folder, trust=experiment.trust)
        drawn.append(("film", f": {best.name}", lambda path: film.film(agent, task, path)))
    if traces := inside.rate_traces(summary, task, experiment.trust):
        drawn.append(("rate", "", lambda path: plots_inside.internal_rate(summary, traces, path)))
    for place, sample in enumerate(inside.samples(summary, task, experiment.trust)):
        kind = "episode-none" if place else "episode"
        drawn.append((kind, f": {sample.name}", partial(plots_inside.sample_episode, sample)))
    if weights := inside.weight_trace(summary, task, experiment.trust):
        drawn.append(("weights", f": {weights.name}", partial(plots_inside.fast_weights, weights)))
    images = []
    for kind, of, draw in drawn:
        form = "gif" if kind == "film" else "png"
        path = figures / f"{stem}-{kind}.{form}"
        draw(path)
        title, caption = FIGURES[kind.partition("-")[0]]
        data = f"data:image/{form};base64," + base64.b64encode(path.read_bytes()).decode("ascii")
        images.append({"title": title + of, "caption": caption, "data": data, "width": _shown_width(path)})
    return images


def _shown_width(path: Path) -> int:
    """Pixels on the page, the same number to an inch for all figures, so that their letters are of one size.

    Films are shown as they are.
    """
    if path.suffix == ".gif":
        return int.from_bytes(path.read_bytes()[6:8], "little")
    width = int.from_bytes(path.read_bytes()[16:20], "big")  # where PNG has it
    return round(width * 96 / int(_plots().DPI))


def _lead(experiment: Experiment) -> str:
    runs = experiment.runs
    done = sum(run.status == "finished" for run in runs)
    tasks, seeds = ({getattr(run.settings, name) for run in runs} for name in ("task", "seed"))
    return (
        f"{done} of {counted(len(runs), 'run')} finished: {counted(len(tasks), 'task')}, {counted(len(seeds), 'seed')}."
    )


def _template() -> Any:
    """The page; needs jinja2."""
    with _needed():
        import jinja2
    loader = jinja2.PackageLoader("evolution.reports", "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("report.html.jinja")


def _plots() -> Any:
    """The module that draws; needs matplotlib."""
    with _needed():
        from evolution.reports.plots import curves as plots
    return plots


@contextmanager
def _needed() -> Iterator[None]:
    """Name the extra that brings what cannot be imported."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("matplotlib", "jinja2"):
            raise
        raise MissingExtraError("a report", "plots") from None
