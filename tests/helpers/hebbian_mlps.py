"""What the tests of evolved rules and of Hebbian MLPs share: a task, its episodes, an agent."""

from typing import Any

import torch
from torch import Tensor

import agents
from agents.networks.hebbian_mlp import HebbianMLP
from plastic_envs.core.supervised import SupervisedTask
from plastic_envs.core.task import Episode, Task, layout


class Echo(SupervisedTask):
    """Random numbers that are asked back, and a label among them for networks that learn from one."""

    def __init__(self) -> None:
        self.horizon, self.output_size = 5, 2
        self.slices = layout({"value": 3, "label": 2})

    def sample(self, batch_size: int, generator: torch.Generator) -> Episode:
        inputs = torch.randn(self.horizon, batch_size, 5, generator=generator)
        asked = torch.ones(self.horizon, batch_size, dtype=torch.bool)
        return Episode(inputs, inputs[..., 3:], asked, asked, {})


TASK = Echo()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def episodes(size: int = 3) -> Episode:
    return TASK.sample(size, generator()).map(lambda x: x.double() if x.is_floating_point() else x)


def make(rule: str = "abcd", task: Task = TASK, **options: Any) -> HebbianMLP:
    settings = {"network": "hebbian-mlp", "hidden": "4-3", "seed": 1, **options}
    agent = agents.make_for(task, rule=rule, **settings).double()
    assert isinstance(agent, HebbianMLP)
    return agent


def values_of(agent: agents.Agent) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in agent.named_parameters()}
