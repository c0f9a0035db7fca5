"""What users write in modules of their own: tasks, and sources of images. Used by name in the tests."""

from typing import ClassVar

import torch

from plastic_envs import Episode, SupervisedTask, layout
from plastic_envs.core.task import Slice, Step, Task


class RunningMean(SupervisedTask):
    """Answer with the mean of the values shown so far."""

    def __init__(self, n_steps=10):
        self.horizon = n_steps
        self.slices = layout({"value": 1})
        self.output_size = 1
        self.references = {"zero": self.zeros}

    def sample(self, batch_size, generator):
        values = torch.rand(self.horizon, batch_size, 1, generator=generator) * 2 - 1
        means = values.cumsum(0) / torch.arange(1, self.horizon + 1).view(-1, 1, 1)
        always = torch.ones(self.horizon, batch_size, dtype=torch.bool)
        return Episode(values, means, always, always, {})


class Walk(Task):
    """A closed loop: the action moves a point on a line, and the reward is minus its distance from 0."""

    horizon, output_size, action_kind, metric_kind = 5, 1, "box", "reward"
    slices: ClassVar = {"place": Slice(0, 1, (1,))}

    def reset(self, batch_size, generator):
        place = torch.rand(batch_size, 1, generator=generator, dtype=torch.float64)
        return (place, torch.zeros(batch_size)), place

    def step(self, state, action):
        place, time = state[0] + action, state[1] + 1
        reward = -place.abs().squeeze(-1)
        return Step((place, time), place, reward, time >= self.horizon, reward, time > 0)


def stripes():
    """Images (N, H, W) and labels (N,): class k has row k lit."""
    labels = torch.arange(10).repeat(4)
    return torch.eye(10)[labels].unsqueeze(-1).expand(-1, -1, 10), labels


not_a_task = 3
