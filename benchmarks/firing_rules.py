"""Learning with, and of, firing rules with three rounds through the graph, beside a straightforward program.

    python -m benchmarks.firing_rules

prints a JSON line each, per second of processor time of one thread:

- examples that one network of 1,000 units learns from (digits of 28 × 28 pixels, a table that is drawn and a
  perceptron-like output table), and that ten learn from in one call;
- updates of rules in 32 runs at once, each by a batch of 100 examples to 100 units: rollout, backward pass and Adam;
- the same of one rule by 32 networks with batches of their own, through the searcher; each network is counted.

The straightforward program takes one network and example after the other, masks the graph anew in each round and
learns rules by autograd through it all, as the authors' program does, though in single precision as here. What both
come to, the mistakes or the loss, is printed too, as it must agree; codes can differ by rounding.
"""

import json
import resource
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate, one_hot

import agents
from agents.networks.kwta.network import KWTANetwork
from evolution.searchers.make import make_searcher
from plastic_envs.data import load_data
from plastic_envs.tasks import make_task

RUNS = 32
TRAINING = "kwta,rounds=4,hidden=1000"
LEARNING = "kwta,rounds=4,hidden=100"
SEARCHER = f"backprop,optimizer=adam,learning_rate=0.01,batch_size={RUNS}"


def straightforward(
    network: KWTANetwork, birth: Mapping[str, Tensor], features: Tensor, labels: Tensor
) -> tuple[int, Callable[[Tensor], Tensor]]:
    """One network learns from examples (S, F) with classes (S,): its mistakes, and the logits that it gives then."""
    inputs, edges = birth["inputs"][0], birth["edges"][0]
    tables, kept = network.rule.tables(), network.options.kept
    graph, outputs = torch.zeros_like(edges), inputs.new_zeros(len(edges), network.output_size)

    def fire(x: Tensor) -> tuple[Tensor, Tensor]:
        drive = x @ inputs
        h, code = torch.zeros_like(drive), torch.zeros_like(drive, dtype=torch.long)
        for _ in range(network.options.rounds):
            values, index = (h @ (graph * edges) + drive).relu().topk(kept)
            h = torch.zeros_like(drive).scatter(0, index, values)
            code = 2 * code + (h > 0)
        return h, code

    mistakes = 0
    for x, label in zip(features, labels, strict=True):
        h, code = fire(x)
        predicted = (h @ outputs).argmax()
        if predicted == label:
            continue
        mistakes += 1
        graph = graph + tables.graph[code[:, None], code[None, :]]
        classes = one_hot(torch.stack([label, predicted]), network.output_size)
        outputs = outputs + tables.output[code] @ classes.to(outputs.dtype)
    return mistakes, lambda x: fire(x)[0] @ outputs


def per_second(work: Callable[[], object], amount: int, repeats: int) -> float:
    """The median over repeats, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return amount / statistics.median(times)


@torch.no_grad()
def train(networks: int, plain: float | None, examples: int = 1797, few: int = 60) -> float:
    """Let networks learn from all digits; `plain` is the straightforward rate if it was measured already."""
    data = load_data("digits")
    images = interpolate(data.features.view(-1, 1, 8, 8), (28, 28)).flatten(1)[:examples]
    labels = data.labels[:examples]
    network = agents.make(794, 10, rule="firing-table,output_start=perceptron", network=TRAINING)
    assert isinstance(network, KWTANetwork)
    birth = network.draw_birth(networks, torch.Generator().manual_seed(0))
    state = network.initial_state((networks,), birth)
    shown = torch.cat([images, one_hot(labels, 10)], 1).unsqueeze(1).expand(-1, networks, -1)
    percepts = network.perceive(shown, state)

    def learn() -> Tensor:
        learned = network.learn(percepts, state)
        assert learned is not None
        return (learned[0].argmax(-1) != labels.unsqueeze(1)).sum(0)

    ours = per_second(learn, networks * examples, 3 if networks == 1 else 1)
    plain = plain or per_second(lambda: straightforward(network, birth, images[:few], labels[:few]), few, 3)
    report(
        f"training, networks of 1,000 units: {networks}",
        examples_per_s=ours,
        straightforward=plain,
        ratio=ours / plain,
        mistakes=int(learn()[0]),
        straightforward_mistakes_of_first=[few, straightforward(network, birth, images[:few], labels[:few])[0]],
        mistakes_of_first=int((network.learn(percepts[:few], state)[0][:, 0].argmax(-1) != labels[:few]).sum()),
    )
    return plain


def learn_rules() -> None:
    """Update rules, by rollout and backward pass of a population, and by the searcher."""
    task = make_task("OnlineClassification,source=halfspace,n_train=100,n_query=100,query=support")
    network = agents.make_for(task, rule="firing-table,output_start=perceptron", network=LEARNING, seed=0)
    assert isinstance(network, KWTANetwork)
    generator = torch.Generator().manual_seed(0)
    episode = task.sample(1, generator)
    parameters = {name: value.detach().repeat(RUNS, 1, 1) for name, value in network.named_parameters()}
    for value in parameters.values():
        value.add_(torch.randn(value.shape, generator=generator) / 10).requires_grad_()
    adam = torch.optim.Adam(parameters.values(), lr=0.01)

    def update() -> None:
        lived = agents.rollout(network, task, 1, generator, parameters=parameters)
        adam.zero_grad()
        (lived.loss.sum() + lived.penalty.sum()).backward()
        adam.step()

    ours = per_second(update, RUNS, 6)
    searcher = make_searcher(SEARCHER, task, network, seed=0)
    through_searcher = per_second(searcher.step, RUNS, 6)

    birth = network.draw_birth(1, torch.Generator().manual_seed(1))
    features, classes = episode.inputs[:, 0, : network.features], episode.targets[:, 0]

    def plain() -> Tensor:
        _, logits = straightforward(network, birth, features[:100], classes[:100])
        loss = cross_entropy(torch.stack([logits(x) for x in features[100:]]), classes[100:])
        torch.autograd.grad(loss, [network.rule.output_table, network.rule.graph_table])
        return loss.detach()

    network = network.requires_grad_()
    straight = per_second(plain, 1, 3)
    same = agents.rollout(network, task, 1, torch.Generator().manual_seed(1), episode=episode)
    report(
        f"rule updates, {RUNS} at once, 100 units, 100 examples",
        updates_per_s=ours,
        networks_per_s_by_searcher=through_searcher,
        straightforward=straight,
        ratio=ours / straight,
        loss=float(same.loss.detach()),
        straightforward_loss=float(plain()),
    )


def report(what: str, **figures: object) -> None:
    """Print a line."""
    rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps({"what": what, **rounded, "peak_mb": peak}), flush=True)


def main() -> None:
    """Measure all of it, one after the other."""
    torch.set_num_threads(1)
    learn_rules()
    plain = train(1, None)
    train(10, plain)


if __name__ == "__main__":
    main()
