"""K-winners-take-all networks: random inputs, a random graph and outputs, that learn by how their units fired."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from agents.agent import Agent, State
from agents.networks.kwta.firing import Firing, Winners
from agents.networks.kwta.learning import classes_of, columns_of, is_active, learn_online
from agents.networks.kwta.options import KWTAOptions
from agents.percepts import Percepts
from agents.rules import Rule
from agents.rules.firing import FiringRule
from plastic_envs.utils.checks import check_memory
from plastic_envs.utils.errors import WrongTypeError

BLOCK = 1 << 20
"""Numbers of one activity that queries are answered with at once, which bounds the memory."""


class KWTANetwork(Agent):
    """A classifier whose units fire T times, k of them each time; it answers first and then learns from the label.

    From h = 0, T times h ← kwta(relu(hW + xA)), which leaves the k largest (Papadimitriou's "k-cap"); logits = hU.
    A is normal, masked by the probability of an edge, and W lives on a random directed graph without self-edges; both
    are drawn at birth. W and U start at 0 (by multiplicative rules at 1) and change by a `FiringRule`, whose
    coefficients are all there is to search. An observation whose label is all zero changes nothing. Codes, winners and
    predictions are constants to gradients.

    Source: Cristian et al. 2020, "Learning with Plasticity Rules: Generalization and Robustness", sections 2 and A.
    """

    offers = frozenset({"code"})
    Options = KWTAOptions
    learns_from_labels = True

    def __init__(
        self, observation_size: int, output_size: int, *, rule: Rule, options: KWTAOptions, features: int, seed: int
    ) -> None:
        super().__init__(observation_size, output_size, rule=rule, seed=seed)
        if rule.needs and not isinstance(rule, FiringRule):
            raise WrongTypeError(f"{type(self).__name__} learns by a subclass of {FiringRule!r}, not {type(rule)}")
        self.options, self.features = options, features
        self.batched = rule.batched

    @classmethod
    def rule_arguments(cls, observation_size: int, output_size: int, options: KWTAOptions) -> dict[str, Any]:
        """The number of rounds."""
        return {"rounds": options.rounds}

    @property
    def _learner(self) -> FiringRule | None:
        return self.rule if isinstance(self.rule, FiringRule) else None

    def draw_birth(self, batch_size: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the input weights (B, F, V) and, beyond one round, the edges of the graph (B, V, V), 1 or 0."""
        options, units, device, dtype = self.options, self.options.hidden, generator.device, self.dtype
        n_weights = batch_size * units * (self.features + (units if options.rounds > 1 else 0))
        check_memory(f"{n_weights:,} weights at birth", 8e-9 * n_weights, "take fewer units or episodes")

        def draw_edges(n: int) -> Tensor:
            uniform = torch.rand(batch_size, n, units, generator=generator, device=device, dtype=dtype)
            return (uniform < options.edge_probability).to(dtype)

        inputs = draw_edges(self.features)
        if options.input_weights == "normal":
            inputs *= torch.randn(inputs.shape, generator=generator, device=device, dtype=dtype)
        if options.rounds == 1:
            return {"inputs": inputs}
        edges = draw_edges(units)
        edges.diagonal(dim1=-2, dim2=-1).zero_()
        return {"inputs": inputs, "edges": edges}

    def initial_state(
        self,
        batch_shape: tuple[int, ...],
        birth: Mapping[str, Tensor] | None = None,
        steps: int | None = None,
        unscored: int = 0,
    ) -> State:
        """What was drawn (B, …), which a population shares, and the weights `graph` and `outputs` (..., V, V or K).

        Without `birth` it is what the agent's seed gives first. If input weights change too, they have all dimensions.

        Raises:
            UsageError: the weights need more memory than there is.
        """
        if birth is None:
            birth = self.draw_birth(batch_shape[-1], torch.Generator().manual_seed(self._seed))
        state = dict(birth)
        rule, units = self._learner, self.options.hidden
        start = 0.0 if rule is None or rule.additive else 1.0
        n_weights = math.prod(batch_shape) * units * (units * ("edges" in birth) + self.output_size)
        remembered = rule is not None and torch.is_grad_enabled() and not (unscored and _learns_in_place(rule))
        copies = 2 if steps is None or not remembered else 2 * steps
        advice = "take fewer units, episodes or individuals" + (", or an additive rule" if remembered else "")
        check_memory(f"{n_weights:,} weights, {copies} times", 4e-9 * n_weights * copies, advice)
        state["outputs"] = birth["inputs"].new_full((), start).expand(*batch_shape, units, self.output_size)
        if "edges" in birth:
            state["graph"] = (birth["edges"] * start).expand(*batch_shape, -1, -1)
        if rule is not None and rule.input_table is not None:
            state["input_edges"] = birth["inputs"].ne(0).to(birth["inputs"].dtype)
            state["inputs"] = birth["inputs"].expand(*batch_shape, -1, -1)
        return state

    def perceive(self, observations: Tensor, state: State) -> Percepts:
        """Cut observations (S, B, D) into features and labels; what follows them is not used."""
        features, labels, _ = observations.tensor_split((self.features, self.features + self.output_size), -1)
        return Percepts(features, labels)

    def live(self, percept: Percepts, state: State, record: dict[str, Tensor] | None = None) -> tuple[Tensor, State]:
        """Live one step: outputs (..., B, K); then one change of the weights."""
        firing = self.fire(percept.features.unsqueeze(-2) @ state["inputs"], state.get("graph"))  # (..., B, 1, V)
        logits = (firing.activity @ state["outputs"]).squeeze(-2)
        if self._learner is not None:
            state = state | self._change(self._learner, percept, firing.code.squeeze(-2), logits, state)
        if record is not None:
            record |= {f"activity.{number}": value.squeeze(-2) for number, value in enumerate(firing.rounds, 1)}
            record["code"] = firing.code.squeeze(-2)
        return self._outputs(logits), state

    def learn(self, percepts: Percepts, state: State, scored: bool = False) -> tuple[Tensor, State] | None:
        """Live many steps whose outputs no loss looks at: in place, and without autograd but for the weights.

        For additive rules that leave the input weights alone.
        """
        rule = self._learner
        if scored or rule is None or not _learns_in_place(rule):
            return None
        logits, weights = learn_online(self.fire, self.options.kept, rule, percepts, state)
        return self._outputs(logits), state | weights

    def answer(self, percepts: Percepts, state: State) -> Tensor:
        """Answer observations without labels from one state: outputs (..., S, B, K)."""
        return self._outputs(self.logits(percepts.features, state))

    def logits(self, features: Tensor, state: State) -> Tensor:
        """The logits (..., S, B, K) of features (S, B, F), differentiable by features and state."""
        networks = state["outputs"].shape[:-2].numel()
        size = max(1, BLOCK // (networks * self.options.hidden))
        parts = []
        for part in torch.split(features.transpose(0, 1), size, 1):  # (B, s, F)
            firing = self.fire(part @ state["inputs"], state.get("graph"))  # (..., B, s, V)
            parts.append(firing.activity @ state["outputs"])
        return torch.cat(parts, -2).transpose(-3, -2)

    def fire(
        self,
        drive: Tensor,
        graph: Tensor | None,
        bias: Tensor | None = None,
        times: Callable[[Winners, Tensor], Tensor] = Winners.times,
    ) -> Firing:
        """Let the units fire T times.

        Args:
            drive: What the features give them (..., S, V), for S examples.
            graph: W (..., V, V).
            bias: Of the units, which the authors' program has (V,).
            times: How an activity is multiplied with the graph.
        """
        through_graph = self.options.drive == "through_graph"
        if graph is not None:
            drive = drive.expand(*graph.shape[:-2], -1, -1)
        kept: list[Winners] = []
        summed = drive
        for number in range(self.options.rounds):
            if number > 0:
                assert graph is not None
                summed = (kept[-1].dense() + drive) @ graph if through_graph else times(kept[-1], graph) + drive
            activity = (summed if bias is None else summed + bias).relu()
            kept.append(Winners(*self.strongest(activity), activity.shape[-1]))
        return Firing(kept, all_fired=self.options.fired == "topk")

    def strongest(self, activity: Tensor) -> tuple[Tensor, Tensor]:
        """The activities of the k winners, and whose they are: (..., V) to (..., k) each, in any order."""
        values, index = activity.topk(self.options.kept, -1, sorted=False)
        return values, index

    def recordable(self) -> tuple[str, ...]:
        """The activity after each round, and each unit's code."""
        return (*(f"activity.{number}" for number in range(1, self.options.rounds + 1)), "code")

    def _outputs(self, logits: Tensor) -> Tensor:
        return logits.softmax(-1) if self.options.double_softmax else logits

    def _change(self, rule: FiringRule, percept: Percepts, code: Tensor, logits: Tensor, state: State) -> State:
        """The weights after one example: code (..., B, V), logits (..., B, K)."""
        tables = rule.tables()
        predicted = logits.argmax(-1)  # (..., B)
        classes = classes_of(percept.labels)
        active = is_active(rule, classes, classes >= 0, predicted)
        columns = columns_of(rule, percept.labels, predicted) * active[..., None, None]  # (..., B, 2, K)
        codes = torch.arange(rule.codes, device=code.device)
        units = (code.unsqueeze(-1) == codes).to(logits.dtype)  # (..., B, V, C), one-hot
        new = {"outputs": _apply(rule, state["outputs"], _terms(units @ tables.output.unsqueeze(-3), columns))}
        gate = active.to(logits.dtype)[..., None, None]
        if tables.graph is not None and "graph" in state:
            rates = units @ tables.graph.unsqueeze(-3) @ units.mT
            new["graph"] = _apply(rule, state["graph"], [rates * state["edges"] * gate])
        if tables.input is not None:
            positive = percept.features > 0
            features = torch.stack([~positive, positive], -1).to(logits.dtype)  # (..., B, F, 2)
            rates = features @ tables.input.unsqueeze(-3) @ units.mT
            new["inputs"] = _apply(rule, state["inputs"], [rates * state["input_edges"] * gate])
        return new


def _learns_in_place(rule: FiringRule) -> bool:
    """Whether the weights are linear in the rule, and the drives known beforehand."""
    return rule.additive and rule.input_table is None


def _terms(rates: Tensor, columns: Tensor) -> Iterator[Tensor]:
    """The changes (..., V, K) that the two columns of a table make to the outputs."""
    for column in range(2):
        yield rates[..., column, None] * columns[..., None, column, :]


def _apply(rule: FiringRule, weight: Tensor, changes: Any) -> Tensor:
    """Change weights by rates, one after the other."""
    for change in changes:
        weight = weight + change if rule.additive else weight * (1 + change)
    return weight
