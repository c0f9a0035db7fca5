"""Claim 16: plastic networks complete natural images they have never been trained on."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch

from agents import Agent, make_for, rollout
from evolution.claims.finding import ClaimSettings, Finding
from evolution.claims.learners import Contest
from evolution.claims.trainings import Curve, Learner
from evolution.evaluation.evaluate import evaluate
from evolution.evaluation.statistics import mean_interval
from evolution.seeding import make_generator
from plastic_envs.core.supervised import SupervisedTask
from plastic_envs.tasks.image_completion import ImageCompletion

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLASTIC, SHARED, FIXED = "plastic RNN", "plastic RNN, one Λ", "RNN without plasticity"
FASTER = f"{FIXED}, rate 1e-3"
MEAN = "mean of the images shown"
SHOWN = 4
"""Completions in the picture."""


def image_memory(settings: ClaimSettings) -> Finding:
    """Plastic recurrent networks, Λ per connection or shared, and one without plasticity, on patches of 32×32 pixels.

    Training patches are of one photograph, those of the evaluation of another. All have 1,025 units, clamped by what is
    shown, and Adam's learning rate 1e-4; the network without plasticity is tried with 1e-3 too. Quick: 3 images in 1
    round of 6 steps, 2,400 episodes, 2 seeds. Full: the paper's 3 rounds of 20 steps, 6,000 episodes, 3 seeds.

    It holds if the error over the missing half of the plastic network with a Λ for each connection is below that of the
    networks without plasticity by more than the 95% Welch interval, and its interval below what the mean of the images
    shown gives.
    """
    found = contest(settings.full)
    table = found.run(settings)
    mean = evaluate(table[FIXED][0].agent, found.task, found.eval_episodes).references[MEAN]
    interval = mean_interval([curve.final for curve in table[PLASTIC]])
    below = interval.below(mean)
    return Finding(
        claim="A plastic recurrent network completes natural images of a thousand pixels that it never saw in "
        "training; one without plasticity does not.",
        source="Miconi, Clune and Stanley 2018, Differentiable plasticity, section 4.3",
        holds=found.wins(table, PLASTIC) and below,
        verdict=f"{found.verdict(table)}; the mean of the images shown gives {mean:.3g}",
        figures=found.rows(table),
        draw=partial(_draw, found, table),
        size=(12.0, 6.0),
    )


def contest(full: bool) -> Contest:
    """Which networks, on how many episodes."""
    task = ImageCompletion() if full else ImageCompletion(n_rounds=1, n_show=6)
    kinds = {
        PLASTIC: ("decaying-hebb", "connection"),
        SHARED: ("decaying-hebb", "shared"),
        FIXED: ("none", "connection"),
    }
    searcher = "backprop,optimizer=adam,amsgrad=false,batch_size=4,learning_rate="
    learners = {name: Learner(partial(_make, task, *kind), f"{searcher}0.0001") for name, kind in kinds.items()}
    return Contest(
        task,
        learners | {FASTER: Learner(learners[FIXED].make, f"{searcher}0.001")},
        ours=[PLASTIC, SHARED],
        budget=6000 if full else 2400,
        seeds=3 if full else 2,
        evals=5,
        eval_episodes=100,
        bound=0.01,
    )


def _make(task: SupervisedTask, rule: str, plasticity: str, seed: int) -> Agent:
    return make_for(task, rule=rule, network="plastic-rnn", input="clamp", plasticity=plasticity, seed=seed)


def _draw(found: Contest, table: Mapping[str, Sequence[Curve]], canvas: "Figure") -> None:
    """Learning curves, and the first held-out episodes: what was shown last, both answers, the truth."""
    grid = canvas.add_gridspec(1, 2, width_ratios=[1, 1.3])
    found.draw(table, canvas.add_subplot(grid[0]))
    task = found.task.held_out()
    assert isinstance(task, ImageCompletion)
    episode = task.sample(SHOWN, make_generator(0, "report"))
    answers = {}
    for name in (PLASTIC, FIXED):
        with torch.no_grad():
            lived = rollout(table[name][0].agent, task, SHOWN, make_generator(0, "birth"), episode=episode)
        answers[name] = lived.outputs[-1]
    columns = {"asked with": task.part_shown(episode.inputs), **answers, "truth": episode.targets[-1]}
    panels = grid[1].subgridspec(SHOWN, len(columns))
    for place, (name, images) in enumerate(columns.items()):
        for row, image in enumerate(images):
            axes = canvas.add_subplot(panels[row, place])
            axes.imshow(image.view(task.item_shape).numpy(), cmap="gray", vmin=-1, vmax=1)
            axes.set_axis_off()
            if row == 0:
                axes.set_title(name, fontsize=8, fontweight="normal", loc="center")
