"""Meta-gradients a second of a feedback network at the paper's sizes, beside a straightforward program.

    python -m benchmarks.feedback_rules --terms 1+3+10

prints one JSON line: episodes per second of processor time of the rollout and its backward pass, 250 labelled examples
and 50 queries, with births and sampling; peak memory of the process; the same of one episode at a time through dense
weights by autograd, as the authors' program does it (each term a matrix, a new weight matrix at every step). Both
losses are printed, as they must agree. One thread.
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot, softplus

import agents
from agents.networks.feedback.network import FeedbackNetwork
from plastic_envs import Episode, SupervisedTask, layout

START = torch.tensor([1e-3, 1e-4, -3e-4, 1e-5, 1e-5, 1e-4, 1e-4, 1e-4, 1e-4, 2e-4])


class NoisyPrototypes(SupervisedTask):
    """Five classes of sparse images with noise, among 47 labels: 250 labelled examples, 50 queries."""

    action_kind = "discrete"

    def __init__(self) -> None:
        self.first_query, self.horizon, self.output_size = 250, 300, 47
        self.slices = layout({"image": 784, "label": 47}, feedback=["label"])

    def sample(self, batch_size: int, generator: torch.Generator) -> Episode:
        """Draw prototypes, and multiply them with noise."""
        classes = torch.randint(5, (self.horizon, batch_size), generator=generator)
        pixels, chosen = (torch.rand(batch_size, 5, 784, generator=generator) for _ in range(2))
        prototypes = pixels * (chosen < 0.25)
        images = prototypes[torch.arange(batch_size), classes]
        images *= 0.5 + 0.5 * torch.rand(self.horizon, batch_size, 784, generator=generator)
        asked = (torch.arange(self.horizon) >= self.first_query).unsqueeze(1).expand(-1, batch_size)
        labels = one_hot(classes, 47).masked_fill(asked.unsqueeze(-1), 0)
        return Episode(torch.cat([images, labels], -1), classes, asked, asked, {})


def straightforward(agent: FeedbackNetwork, birth: dict[str, Tensor], episode: Episode, n_train: int) -> Tensor:
    """The query loss of one episode, with weights output × input and single examples (1, n) as rows."""
    theta = dict(zip(agent.rule.terms, agent.rule.theta, strict=True))
    weights = [birth[f"weight.{layer}"][0].T.contiguous() for layer in agent.shapes]
    feedback = [birth[f"feedback.{layer}"][0].T.contiguous() for layer in agent.shapes]

    def forward(x: Tensor) -> tuple[Tensor, list[Tensor]]:
        activity = [x]
        for weight in weights[:-1]:
            activity.append(softplus(activity[-1] @ weight.T, 10))
        return activity[-1] @ weights[-1].T, activity

    for step in range(n_train):
        logits, y = forward(episode.inputs[step, :1, :784])
        y.append(logits.softmax(1))
        e = [y[-1] - one_hot(episode.targets[step, :1], 47)]
        for activity, matrix in zip(reversed(y[:-1]), reversed(feedback), strict=True):
            e.insert(0, (e[0] @ matrix) * (1 - torch.exp(-10 * activity)))
        terms: dict[int, Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]] = {
            1: lambda w, yl, yp, el, ep: -el.T @ yp,
            2: lambda w, yl, yp, el, ep: -yl.T @ ep,
            3: lambda w, yl, yp, el, ep: -el.T @ ep,
            4: lambda w, yl, yp, el, ep: -w,
            5: lambda w, yl, yp, el, ep: -torch.ones_like(yl).T @ ep,
            6: lambda w, yl, yp, el, ep: -el.T @ yp * yl.sum(),
            7: lambda w, yl, yp, el, ep: -yl.T @ ((yl @ w) @ ep.T) @ ep,
            8: lambda w, yl, yp, el, ep: -el.T @ ((yl @ w) @ ep.T) @ yp,
            9: lambda w, yl, yp, el, ep: -yl.T @ ((yp @ w.T) @ el.T) @ ep,
            10: lambda w, yl, yp, el, ep: yl.T @ yp - (yl.T @ yl) @ w,
        }
        weights = [
            w + sum(value * terms[term](w, y[i + 1], y[i], e[i + 1], e[i]) for term, value in theta.items())
            for i, w in enumerate(weights)
        ]
    logits, _ = forward(episode.inputs[n_train:, 0, :784])
    return cross_entropy(logits, episode.targets[n_train:, 0])


def timed(function: Callable[[], Tensor], repeats: int) -> tuple[float, float]:
    """Median seconds of processor time, and the loss."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        loss = function()
        loss.backward()  # type: ignore[no-untyped-call]
        seconds.append(time.process_time() - start)
        value = float(loss.detach())
        del loss  # and with it what was remembered, before the next one
    return statistics.median(seconds), value


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--terms", default="1+3+10")
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    task = NoisyPrototypes()
    agent = agents.make_for(task, rule=f"pool,terms={args.terms}", network="feedback")
    assert isinstance(agent, FeedbackNetwork)
    with torch.no_grad():
        agent.rule.theta.copy_(START[[term - 1 for term in agent.rule.terms]])

    def ours(batch: int) -> Tensor:
        return agents.rollout(agent, task, batch, torch.Generator().manual_seed(0)).loss.mean()

    def peers() -> Tensor:
        generator = torch.Generator().manual_seed(0)
        episode = task.sample(1, generator)
        return straightforward(agent, agent.draw_birth(1, generator), episode, task.first_query)

    seconds, _ = timed(lambda: ours(args.batch), args.repeats)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    peer_seconds, peer_loss = timed(peers, args.repeats)
    figures = {
        "episodes_per_s": args.batch / seconds,
        "peak_mb": peak,
        "straightforward_episodes_per_s": 1 / peer_seconds,
        "straightforward_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "ratio": args.batch / seconds * peer_seconds,
        "loss": float(ours(1).detach()),
        "straightforward_loss": peer_loss,
    }
    print(json.dumps({**vars(args), **figures}))


if __name__ == "__main__":
    main()
