"""Pattern completion by a plastic network of 1,001 units, beside a straightforward program.

    python -m benchmarks.pattern_completion

prints a JSON line for inputs of ±20, which saturate the units, and one for ±1, where nothing saturates: episodes per
second of processor time of whole updates (episodes drawn, rollout, backward pass and Adam); peak memory of the process;
the same of one episode at a time through dense fast weights by autograd, as the authors' program does it. Both losses
of the same episode are printed, as they must agree. One thread.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

import agents
from agents.networks.plastic_rnn import PlasticRNN
from plastic_envs import Episode, SupervisedTask, layout


class Patterns(SupervisedTask):
    """Five patterns of ±gain and a bias, shown twice for 6 steps with 4 blank ones after; then half of one for 6."""

    def __init__(self, gain: float, bits: int = 1000, patterns: int = 5) -> None:
        self.gain, self.bits, self.patterns = gain, bits, patterns
        self.horizon, self.output_size = 2 * patterns * 10 + 6, bits
        self.slices = layout({"pattern": bits, "bias": 1})

    def sample(self, batch_size: int, generator: torch.Generator) -> Episode:
        """Draw patterns with as many bits of either sign, two orders, and the half that is shown at the end."""

        def halves(*shape: int) -> Tensor:
            ranks = torch.rand(*shape, self.bits, generator=generator).argsort(-1)
            return (ranks < self.bits // 2).float()

        patterns = halves(batch_size, self.patterns) * 2 - 1
        rows = torch.arange(batch_size)
        orders = [torch.rand(batch_size, self.patterns, generator=generator).argsort(-1) for _ in range(2)]
        inputs = torch.zeros(self.horizon, batch_size, self.bits + 1)
        for show, chosen in enumerate(torch.cat(orders, 1).T):
            inputs[10 * show : 10 * show + 6, :, :-1] = patterns[rows, chosen]
        asked = patterns[rows, torch.randint(self.patterns, (batch_size,), generator=generator)]
        inputs[-6:, :, :-1] = asked * halves(batch_size)
        inputs[..., -1] = 1
        last = (torch.arange(self.horizon) == self.horizon - 1).unsqueeze(1).expand(-1, batch_size)
        return Episode(inputs * self.gain, asked.expand(self.horizon, -1, -1), last, last, {})


def straightforward(agent: PlasticRNN, episode: Episode) -> Tensor:
    """The loss of one episode, with a new matrix at every step."""
    weight, plasticity, eta = agent.recurrent.weight, agent.recurrent.plasticity, agent.rule.learning_rate()
    assert plasticity is not None
    assert eta is not None
    hidden, fast = torch.zeros(1, agent.units), torch.zeros_like(weight)
    for shown in episode.inputs:
        new = torch.tanh(hidden @ (weight + plasticity * fast) + shown)
        fast = (1 - eta) * fast + eta * (hidden.T * new)
        hidden = new
    return (hidden[0, : agent.output_size] - episode.targets[-1, 0]).square().mean()


def measure(gain: float, batch: int, repeats: int, plain: bool) -> dict[str, float]:
    """Updates of one form in this process: episodes per second, peak memory, and the loss of one episode."""
    torch.set_num_threads(1)
    task = Patterns(gain)
    agent = agents.make_for(task, rule="decaying-hebb", network="plastic-rnn", input="add", seed=0)
    assert isinstance(agent, PlasticRNN)
    adam = torch.optim.Adam(agent.parameters(), lr=3e-4)
    generator = torch.Generator().manual_seed(0)
    first = task.sample(1, torch.Generator().manual_seed(1))

    def peers(episode: Episode) -> Tensor:
        return straightforward(agent, episode)

    def ours(episode: Episode) -> Tensor:
        return agents.rollout(agent, task, episode.inputs.shape[1], generator, episode=episode).loss.mean()

    form: Callable[[Episode], Tensor] = peers if plain else ours
    loss = float(form(first).detach())
    seconds = []
    for _ in range(repeats + 1):
        start = time.process_time()
        adam.zero_grad()
        form(task.sample(batch, generator)).backward()  # type: ignore[no-untyped-call]
        adam.step()
        seconds.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"episodes_per_s": batch / statistics.median(seconds[1:]), "peak_mb": peak, "loss": loss}


def main() -> None:
    """Measure both forms in processes of their own, as peak memory is a process's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--form", choices=["ours", "straightforward"], help="measure this one alone, at --gain")
    parser.add_argument("--gain", type=float, default=20)
    args = parser.parse_args()
    if args.form:
        plain = args.form == "straightforward"
        print(json.dumps(measure(args.gain, 1 if plain else args.batch, args.repeats, plain)))
        return

    def alone(form: str, gain: float) -> dict[str, float]:
        command = [sys.executable, "-m", "benchmarks.pattern_completion", "--form", form, "--gain", str(gain)]
        command += ["--batch", str(args.batch), "--repeats", str(args.repeats)]
        figures: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        return figures

    for gain in (20.0, 1.0):
        ours, peers = alone("ours", gain), alone("straightforward", gain)
        figures = {
            **ours,
            **{f"straightforward_{name}": value for name, value in peers.items()},
            "ratio": ours["episodes_per_s"] / peers["episodes_per_s"],
        }
        print(json.dumps({"gain": gain, "batch": args.batch, **figures}), flush=True)


if __name__ == "__main__":
    main()
