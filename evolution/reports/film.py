"""A film of the first held-out episode of a closed loop, as its environments render it."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image  # which matplotlib needs
from torch import Tensor

from agents import Agent
from agents.species import Species
from evolution.seeding import make_generator
from plastic_envs.core.policies import play
from plastic_envs.core.task import Task
from plastic_envs.core.world_task import WorldTask
from plastic_envs.rendering.episode import SIZE
from plastic_envs.utils.writing import make_folder, write_atomically

FRAMES = 100
"""At most so many pictures; of a longer episode some steps are left out."""
MILLISECONDS = 120
"""That each picture is shown."""


@torch.no_grad()
def film(agent: Agent, task: Task, path: Path) -> None:
    """Write a GIF of the first held-out episode, or world of many agents, that an agent lives.

    Raises:
        UsageError: the file cannot be written.
    """
    states: list[Any] = []
    actions: list[Tensor] = []

    def act(observation: Tensor, memory: Any, state: Any, generator: torch.Generator) -> tuple[Tensor, Any]:
        output, memory = agent(observation, memory)
        states.append(state)
        actions.append(task.action(output))
        return actions[-1], memory

    play(task, act, task.agents_per_world, make_generator(0, "report"))
    figure = Figure(figsize=(SIZE[0] / 100, SIZE[1] / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    images = []
    for step in range(0, len(states), -(-len(states) // FRAMES)):
        figure.clear()
        taken = [action[0] for action in actions[:step]]
        if isinstance(agent, Species) and isinstance(task, WorldTask):
            task.draw_species(figure, states[step], 0, taken, len(agent.members))
        else:
            task.draw(figure, states[step], 0, taken)
        canvas.draw()  # type: ignore[no-untyped-call]
        picture = np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
        images.append(Image.fromarray(picture).quantize(64))
    data = io.BytesIO()
    images[0].save(data, "GIF", save_all=True, append_images=images[1:], duration=MILLISECONDS, loop=0)
    make_folder(path.parent)
    write_atomically(path, data.getvalue())
