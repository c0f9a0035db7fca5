"""Networks of the package that learn by an output rule, many rules at once: what claims about such rules share."""

from dataclasses import replace
from typing import Any

from torch import Generator, Tensor

import agents
from agents import Rollout, rollout
from agents.networks.kwta.network import KWTANetwork
from evolution.seeding import make_generator
from plastic_envs import Episode
from plastic_envs.tasks.online_classification import OnlineClassification

TABLE = "rule.output_table"
ENTRIES = ("r(0,0)", "r(0,1)", "r(1,0)", "r(1,1)")
"""r(a,b): a is whether a unit fired, b = 0 stands for the true class."""
N_UNITS = 100  # half of them may fire: section A.2


class Learners:
    """Random networks with T = 1, one for each of B episodes and always the same, on which rules (2, 2) are tried.

    A network learns from each of the n examples of its episode once, from weights of zero, with the step size 0.01, and
    is then asked for the same examples. All is in double precision.

    Args:
        source: of the examples, as `OnlineClassification` takes it.
        n_examples: n.
        seed: root seed, of the network.
        n_way: classes an episode, with equally many examples each; None for whatever comes.
        **rule: when it learns and on which edges, and the constant of the L2 term: options of "firing-output".
    """

    def __init__(self, source: Any, n_examples: int, seed: int, n_way: int | None = None, **rule: Any) -> None:
        self.task = OnlineClassification(source, n_examples, n_examples, query="support", n_way=n_way)
        options = "".join(f",{name}={value}" for name, value in rule.items())
        made = agents.make_for(self.task, rule="firing-output,output=fired" + options, hidden=N_UNITS).double()
        assert isinstance(made, KWTANetwork)
        self.agent, self.seed, self.n_examples = made, seed, n_examples

    def draw(self, generator: Generator, n_episodes: int = 1) -> Episode:
        """Fresh examples."""
        episode = self.task.sample(n_episodes, generator)
        return replace(episode, inputs=episode.inputs.double())

    def learn(self, rules: Tensor, episode: Episode) -> Rollout:
        """Let the networks learn by each of the rules (P, 2, 2)."""
        n_episodes = episode.inputs.shape[1]
        birth = make_generator(self.seed, "birth")
        return rollout(self.agent, self.task, n_episodes, birth, parameters={TABLE: rules}, episode=episode)

    def activity(self, episode: Episode) -> tuple[Tensor, Tensor]:
        """How the networks fire for the examples: the activity (B, n, V), and the labels (B, n)."""
        examples = episode.inputs[self.n_examples :].transpose(0, 1)
        birth = self.agent.draw_birth(len(examples), make_generator(self.seed, "birth"))
        firing = self.agent.fire(examples[..., : self.agent.features] @ birth["inputs"], None)
        return firing.activity, episode.targets[self.n_examples :].T
