"""Associate cues with rewards: Duan et al., "Hebbian and Gradient-based Plasticity Enables Robust Memory"."""

import math
from typing import Literal

import torch
from torch import Tensor

from plastic_envs.core.supervised import SupervisedTask, during
from plastic_envs.core.task import FARTHEST_NORMAL, Episode, layout
from plastic_envs.utils.checks import check_choice, check_float, check_int


class CueReward(SupervisedTask):
    """Remember which reward came with which cue, and tell it when the cue comes again.

    ## Description
    An episode has `n_cues` cues, each a vector drawn from U(0, 1) with a reward drawn from U(-1, 1). In the first
    `n_show` steps a cue drawn with replacement is shown with its reward, in the `n_query` steps after them without.
    Each time, N(0, `noise`) is added to every number of the cue, never to the reward. The target is the cue's reward.

    ## Observation Space
    `n_stimulus` + 2 numbers: `stimulus` (the noisy cue), `reward` (0 while queried), `query` (1 while queried).

    ## Action Space
    `Box(-1, 1, (1,))`: the reward expected of the cue.

    ## Rewards
    Minus the squared error on the steps of the loss, 0 on others. The metric is the squared error of the query steps.

    ## Arguments
    * `n_cues` (5), `n_stimulus` (14), `n_show` (10), `n_query` (10), `noise` (0.1): see above.
    * `loss_steps` ("all"): the loss takes "all" steps, as Duan et al. do, or the "query" steps alone. Over all steps,
      echoing the reward that stands in the input already halves the error of answering 0.
    """

    def __init__(
        self,
        n_cues: int = 5,
        n_stimulus: int = 14,
        n_show: int = 10,
        n_query: int = 10,
        noise: float = 0.1,
        loss_steps: Literal["all", "query"] = "all",
    ) -> None:
        self.n_cues = check_int("n_cues", n_cues, 1)
        self.n_stimulus = check_int("n_stimulus", n_stimulus, 1)
        self.n_show = check_int("n_show", n_show, 1)
        self.n_query = check_int("n_query", n_query, 1)
        self.noise = check_float("noise", noise, 0.0)
        self.loss_steps = check_choice("loss_steps", loss_steps, ("all", "query"))
        self.horizon = n_show + n_query
        self.slices = layout({"stimulus": n_stimulus, "reward": 1, "query": 1}, feedback=["reward"])
        self.observation_bound = 1 + FARTHEST_NORMAL * noise
        self.output_size = 1
        self.chance = 1 / 3
        self.best = (1 - 1 / n_cues) ** n_show / 3  # the reward of a cue that was never shown cannot be known
        self.references = {
            "zero": self.zeros,
            "echo": self.echo,
            "shrunken mean": self.shrunken_mean,
            "ideal observer": self.ideal_observer,
        }
        self.oracle = self.recall

    def sample(self, batch_size: int, generator: torch.Generator) -> Episode:
        """Draw episodes; hidden: the number of each step's cue, `cue` (T, B)."""
        device, n_cues, n_show = generator.device, self.n_cues, self.n_show
        cues = torch.rand(batch_size * n_cues, self.observation_size, generator=generator, device=device)
        cues[:, -2].mul_(2).sub_(1)  # the column of the reward
        cue = torch.randint(n_cues, (self.horizon, batch_size), generator=generator, device=device)
        noise = torch.randn(self.horizon, batch_size, self.n_stimulus, generator=generator, device=device)
        row = cue + n_cues * torch.arange(batch_size, device=device)  # (T, B): rows of `cues`
        inputs = cues.index_select(0, row.flatten()).view(*row.shape, -1)  # (T, B, D)
        inputs[..., :-2].add_(noise, alpha=self.noise)
        targets = inputs[..., -2:-1].clone()  # (T, B, 1)
        inputs[n_show:, :, -2] = 0
        inputs[:n_show, :, -1] = 0
        inputs[n_show:, :, -1] = 1
        query = torch.arange(self.horizon, device=device) >= n_show  # (T,)
        loss_steps = query if self.loss_steps == "query" else torch.ones_like(query)
        return Episode(inputs, targets, during(loss_steps, batch_size), during(query, batch_size), {"cue": cue})

    def echo(self, episode: Episode) -> Tensor:
        """Answer with the reward in the input: right while cues are shown, 0 while they are queried."""
        return episode.inputs[..., -2:-1]

    def shrunken_mean(self, episode: Episode) -> Tensor:
        """Echo, then answer queries with the best multiple of the mean of the shown rewards.

        It is the best that an agent without associative memory can do: the multiple is the covariance of a cue's
        reward with that mean over the mean's variance, n_show / (n_show + n_cues - 1).
        """
        answers = self.echo(episode).clone()
        shrink = self.n_show / (self.n_show + self.n_cues - 1)
        answers[self.n_show :] = shrink * answers[: self.n_show].mean(0)
        return answers

    def ideal_observer(self, episode: Episode) -> Tensor:
        """Echo, then answer a query with the reward of the nearest cue shown, or 0 if none is near enough."""
        answers = self.echo(episode).clone()
        stimulus = episode.inputs[..., :-2]
        shown = stimulus[: self.n_show]
        distance = torch.stack([(shown - query).square().sum(-1) for query in stimulus[self.n_show :]])
        nearest, which = distance.min(1)  # (n_query, n_show, B) → (n_query, B)
        # Between two views of one cue it is 2 noise² times a chi-squared variable; allow for five standard deviations.
        same = 2 * self.noise**2 * (self.n_stimulus + 5 * math.sqrt(2 * self.n_stimulus))
        recalled = answers[: self.n_show, :, 0].gather(0, which)
        answers[self.n_show :, :, 0] = recalled.where(nearest <= same, 0.0)
        return answers

    def recall(self, episode: Episode) -> Tensor:
        """The oracle: it recognises every cue without fail, and answers 0 for one that was never shown."""
        cue = episode.hidden["cue"]  # (T, B)
        seen = torch.zeros(*cue.shape[1:], self.n_cues, dtype=torch.bool, device=cue.device)
        seen.scatter_(1, cue[: self.n_show].T, True)
        return episode.targets * seen.gather(1, cue.T).T.unsqueeze(-1)
