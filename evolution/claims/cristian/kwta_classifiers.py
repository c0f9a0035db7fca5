"""K-winners-take-all networks that claims train, by a learned rule or by gradients, and how right they are."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

import agents
from agents import State, rollout
from agents.agent import map_state
from agents.networks.kwta.baseline import WeightDescent, Weights
from agents.networks.kwta.network import KWTANetwork
from evolution.claims.parts import part
from evolution.searchers.make import make_searcher
from evolution.seeding import derive_seed, make_generator
from plastic_envs.data.files import named_folder
from plastic_envs.tasks import make_task
from plastic_envs.tasks.online_classification import OnlineClassification

SOURCES = ("digits", "mnist")
"""Of the claims about images, as far as they are at hand."""
ADAM = 0.01
"""The learning rate of Adam, for rules (section A.1) and for weights (figure 2)."""
BATCH = 100
"""Examples of a batch that a rule is learned on, and of a gradient step on weights."""
EPISODES = 4
"""Networks, each with a batch of its own, for an update of a rule."""
STARTS = 3
"""Rules for the graph that are learned, of which one is taken."""
NUMBERS = 1 << 27
"""Numbers of the episodes that are lived through at once, which bounds the memory."""


class Trained(NamedTuple):
    """R networks of one kind after training.

    Attributes:
        network: What they share.
        state: Their weights, (R, …) each.
        accuracy: Of each on the test part.
    """

    network: KWTANetwork
    state: State
    accuracy: list[float]

    @property
    def mean(self) -> float:
        """The accuracy, mean over all networks."""
        return sum(self.accuracy) / len(self.accuracy)

    def only(self, index: int) -> State:
        """The state of one of them, (1, …)."""
        return map_state(self.state, lambda value: value[index : index + 1])


def available(*sources: str) -> list[str]:
    """Those sources that are at hand: of MNIST and its kin, those with a folder in PLASTIC_ENVS_DATA."""
    folder = named_folder(None)
    return [name for name in sources if "mnist" not in name or (folder is not None and (folder / name).is_dir())]


def classification(source: str, n_train: int, n_query: int, passes: int = 1) -> OnlineClassification:
    """Examples of the training part to learn from and of the test part to be asked for, fewer where there are fewer."""
    task = OnlineClassification(source, n_train=1, n_query=1)
    have = {part: len(task.data.rows(part)) for part in ("train", "test")}
    n_train, n_query = min(n_train, have["train"]), min(n_query, have["test"])
    return OnlineClassification(source, n_train=n_train, n_query=n_query, passes=passes).held_out()


def learn_rule(
    source: str, rule: str, network: str, updates: int, seed: int, *, searched: str = "rule.*", starts: int = 1
) -> KWTANetwork:
    """A network whose rule was learned by gradient descent: section A.1, with several batches of 100 for one update.

    What a rule for the graph comes to depends on its random start, and one that is good for 100 examples may spoil the
    weights with more; the paper does not say how its rules were chosen. Here it is the best of several starts, after
    lifetimes of 1,000 examples, which are all of the training part of the source.

    Args:
        source: Of the examples.
        rule: Its spec.
        network: Spec of the networks that it is learned on, each born anew and trained on one batch.
        updates: Of the rule.
        seed: Root of the random streams.
        searched: Which of the rule's coefficients are learned.
        starts: How many rules are learned.
    """
    task = make_task(f"OnlineClassification,source={source},n_train={BATCH},n_query={BATCH},query=support")
    adam = f"backprop,optimizer=adam,amsgrad=false,learning_rate={ADAM},batch_size={EPISODES}"
    found: list[KWTANetwork] = []
    for start in range(starts):
        own = derive_seed(seed, f"start {start}")
        searcher = make_searcher(
            adam, task, agents.make_for(task, rule=rule, network=network, seed=own), seed=own, searched=[searched]
        )
        with part(f"{source}, {rule} learned, start {start}"):
            for _ in range(updates):
                searcher.step()
        found.append(_kwta_network(searcher.agent()))
    longer = OnlineClassification(source, n_train=1000, n_query=BATCH)

    def accuracy(candidate: KWTANetwork) -> float:
        trained = train_by_rule(candidate, longer, network, EPISODES, make_generator(seed, "choice"))
        return sum(trained.accuracy)

    return max(found, key=accuracy) if starts > 1 else found[0]


def plain_rule(source: str, rule: str, network: str, seed: int = 0) -> KWTANetwork:
    """A network with a rule as it starts, for `train_by_rule`."""
    return _kwta_network(agents.make_for(classification(source, 1, 1), rule=rule, network=network, seed=seed))


def _kwta_network(agent: agents.Agent) -> KWTANetwork:
    assert isinstance(agent, KWTANetwork)
    return agent


@torch.no_grad()
def train_by_rule(
    teacher: KWTANetwork, task: OnlineClassification, network: str, retrainings: int, generator: Generator
) -> Trained:
    """Networks born anew that each live through one episode of a task, by the rule of another network.

    Args:
        teacher: Whose rule it is.
        task: What to learn and to be asked for.
        network: Spec of what differs from the teacher's network, as in "kwta,hidden=1000".
        retrainings: R.
        generator: Of births and examples.
    """
    student = _kwta_network(agents.transfer_rule(teacher, task, network))
    states: list[State] = []
    accuracy: list[float] = []
    size = max(1, NUMBERS // (task.horizon * task.observation_size))
    for start in range(0, retrainings, size):
        lived = rollout(student, task, min(size, retrainings - start), generator)
        states.append(lived.state)
        accuracy += lived.metric.tolist()
    return Trained(student, {name: torch.cat([state[name] for state in states]) for name in states[0]}, accuracy)


class Curve(NamedTuple):
    """Accuracy on the test part along the way: (R, number of checkpoints)."""

    checkpoints: Sequence[int]
    accuracy: Tensor

    @property
    def final(self) -> float:
        """The accuracy in the end, mean over all networks."""
        return float(self.accuracy[:, -1].mean())


@torch.no_grad()
def follow_rule(
    teacher: KWTANetwork,
    task: OnlineClassification,
    network: str,
    checkpoints: Sequence[int],
    retrainings: int,
    generator: Generator,
) -> Curve:
    """As `train_by_rule`, with the accuracy after so many examples."""
    student = _kwta_network(agents.transfer_rule(teacher, task, network))
    episode = task.checked_sample(retrainings, generator)
    state = student.initial_state((retrainings,), student.draw_birth(retrainings, generator))
    percepts = student.perceive(episode.inputs, state)
    found: list[Tensor] = []
    for start, end in zip([0, *checkpoints], checkpoints, strict=False):
        learned = student.learn(percepts[start:end], state)
        assert learned is not None  # by an additive rule that leaves the input weights alone
        state = learned[1]
        found.append(_share_right(student, state, percepts.features, episode.targets, task))
    return Curve(checkpoints, torch.stack(found, 1))


def follow_gradient(
    network: KWTANetwork,
    task: OnlineClassification,
    checkpoints: Sequence[int],
    retrainings: int,
    generator: Generator,
    *,
    batch: int = BATCH,
    weights: Sequence[Weights] = ("outputs",),
) -> tuple[Trained, Curve]:
    """The same networks with weights trained by Adam on the cross-entropy of successive minibatches.

    Births and examples are those of `follow_rule` with an equal generator.

    Args:
        network: An untrained one; its rule is not used.
        task: What to learn; each example is seen once in every pass.
        checkpoints: After how many examples the accuracy is measured, ascending; the last ends the training.
        retrainings: R networks, side by side.
        generator: Of births and examples.
        batch: Examples of a minibatch.
        weights: Which of the networks' are trained.
    """
    episode = task.checked_sample(retrainings, generator)
    state = network.initial_state((retrainings,), network.draw_birth(retrainings, generator))
    features = network.perceive(episode.inputs, state).features
    descent = WeightDescent(network, state, weights, ADAM)
    found: list[Tensor] = []
    for start, end in zip([0, *checkpoints], checkpoints, strict=False):
        descent.train(features[start:end], episode.targets[start:end], batch)
        found.append(_share_right(network, descent.state, features, episode.targets, task))
    return Trained(network, descent.state, found[-1].tolist()), Curve(checkpoints, torch.stack(found, 1))


@torch.no_grad()
def _share_right(
    network: KWTANetwork, state: State, features: Tensor, labels: Tensor, task: OnlineClassification
) -> Tensor:
    """Accuracy (R,) on the queries among features (T, R, F) and labels (T, R)."""
    assert task.first_query is not None
    answers = network.logits(features[task.first_query :], state).argmax(-1)
    return (answers == labels[task.first_query :]).float().mean(0)
