"""What users write in modules of their own: a task, and sources of images. Used by name in the tests."""

import torch

from plastic_envs import Episode, SupervisedTask, layout


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


def stripes():
    """Images (N, H, W) and labels (N,): class k has row k lit."""
    labels = torch.arange(10).repeat(4)
    return torch.eye(10)[labels].unsqueeze(-1).expand(-1, -1, 10), labels


not_a_task = 3
