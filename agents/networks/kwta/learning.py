"""How a k-winners-take-all network learns from many labelled examples in place, without autograd.

Codes, winners and predictions are constants to gradients, so by an additive rule the final weights are linear in its
tables: what the backward pass needs is the codes and which classes each example changed, see `FinalWeights`. Networks
are taken group by group, each through all examples, so that their weights stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from agents.agent import State
from agents.networks.kwta.firing import Firing, RowSums
from agents.networks.kwta.nodes import FinalWeights, Lived
from agents.percepts import Percepts
from agents.rules.firing import FiringRule

Fire = Callable[..., Firing]
"""How the units of a network fire, `KWTANetwork.fire`."""
GROUP = 1 << 20
"""Numbers of the graphs of networks that live side by side."""
BLOCK = 1 << 20
"""Numbers of the input drives that are computed at once."""
RATES = 1 << 18
"""Numbers of the graph that are changed at once, so that the rates of their connections stay in the cache."""


def classes_of(labels: Tensor) -> Tensor:
    """The classes (...) that one-hot labels (..., K) name; −1 where there is no label."""
    return labels.argmax(-1).masked_fill_(~labels.ne(0).any(-1), -1)


def is_active(rule: FiringRule, classes: Tensor, labelled: Tensor, predicted: Tensor) -> Tensor:
    """Whether an example changes anything, by its class, whether it has one, and the predicted one (...)."""
    return labelled & (classes != predicted) if rule.when == "mistakes" else labelled.expand_as(predicted)


def columns_of(rule: FiringRule, labels: Tensor, predicted: Tensor) -> Tensor:
    """For which classes the columns of the output table are used, 1 or 0: (..., 2, K)."""
    labels = labels.expand(*predicted.shape, -1)
    other = torch.zeros_like(labels).scatter(-1, predicted.unsqueeze(-1), 1) if rule.edges == "pair" else 1 - labels
    return torch.stack([labels, other], -2)


def learn_online(fire: Fire, kept: int, rule: FiringRule, percepts: Percepts, state: State) -> tuple[Tensor, State]:
    """Learn from S labelled examples by an additive rule: logits (..., S, B, K) on the way, and the new weights.

    Args:
        fire: How the units fire.
        kept: k, how many of them win.
        rule: By which the weights change.
        percepts: The examples.
        state: The network's.
    """
    lesson = _Lesson(fire, kept, rule, percepts, state)
    with torch.inference_mode():  # many small operations: a sixth faster than `no_grad`
        lesson.run()
    weights = lesson.weights()
    if lesson.lived is not None:
        starts = tuple(state[name] for name in weights)
        found = FinalWeights.run(lesson.lived, tuple(weights.values()), *lesson.tables, *starts)
        weights = dict(zip(weights, found, strict=True))
    return lesson.public(lesson.logits).transpose(-3, -2), weights


class _Lesson:
    """N = B · P networks, an episode's individuals side by side, and the buffers that change while they learn."""

    def __init__(self, fire: Fire, kept: int, rule: FiringRule, percepts: Percepts, state: State) -> None:
        self.fire, self.kept, self.rule, self.percepts, self.state = fire, kept, rule, percepts, state
        outputs: Tensor = state["outputs"]
        self.individuals = len(outputs) if outputs.dim() == 4 else None
        units, classes = outputs.shape[-2:]
        tables, n_tables = rule.tables(), self.individuals or 1
        self.tables = [tables.output.expand(n_tables, -1, -1)]
        if tables.graph is not None and "graph" in state:
            self.tables.append(tables.graph.expand(n_tables, -1, -1))
        self.outputs = self._side_by_side(outputs.detach()).clone(memory_format=torch.contiguous_format)
        self.graph = self._side_by_side(state["graph"].detach()) if "graph" in state else None
        if self.plastic_graph:
            assert self.graph is not None
            self.graph = self.graph.clone(memory_format=torch.contiguous_format)
        steps, count = len(percepts.features), len(self.outputs)
        self.logits = outputs.new_empty(count, steps, classes)
        self.lived = None
        if any(table.requires_grad for table in self.tables):
            self.lived = Lived(
                codes=torch.zeros(steps, count, units, dtype=torch.uint8, device=outputs.device),
                columns=outputs.new_zeros(steps, count, 2, classes),
                active=torch.zeros(steps, count, dtype=torch.bool, device=outputs.device),
                edges=state.get("edges"),
                population=self.individuals is not None,
            )

    @property
    def plastic_graph(self) -> bool:
        """Whether the rule changes the graph."""
        return len(self.tables) == 2

    def _side_by_side(self, values: Tensor) -> Tensor:
        """From (B, …) or (P, B, …) to (N, …)."""
        return values if self.individuals is None else values.transpose(0, 1).flatten(0, 1)

    def public(self, values: Tensor) -> Tensor:
        """Back from (N, …)."""
        if self.individuals is None:
            return values
        return values.view(-1, self.individuals, *values.shape[1:]).transpose(0, 1)

    def weights(self) -> State:
        """The weights that have changed."""
        found = {"outputs": self.public(self.outputs)}
        if self.plastic_graph:
            assert self.graph is not None
            found["graph"] = self.public(self.graph)
        return found

    def run(self) -> None:
        """Take the networks group by group, all examples each."""
        count, units, classes = self.outputs.shape
        size = max(1, GROUP // (units * (units if self.plastic_graph else classes)))
        for first in range(0, count, size):
            self._run_group(torch.arange(first, min(first + size, count), device=self.outputs.device))

    def _run_group(self, networks: Tensor) -> None:
        """Take a group, by its numbers (n,), through all examples."""
        group = slice(int(networks[0]), int(networks[-1]) + 1)
        episodes = networks // (self.individuals or 1)
        some = slice(int(episodes[0]), int(episodes[-1]) + 1)
        graph = None if self.graph is None else self.graph[group]
        outputs = self.outputs[group]
        change = _Change(self, networks, episodes)
        times = RowSums(len(networks), outputs.shape[1], self.kept, outputs.device)
        size = max(1, BLOCK // (len(networks) * outputs.shape[-2]))
        for start in range(0, self.logits.shape[1], size):
            part = self.percepts[start : start + size]
            drives = part.features[:, some].transpose(0, 1) @ self.state["inputs"][some]  # (b, s, V)
            if self.individuals is not None:
                drives = drives[episodes - some.start]  # (n, s, V)
            labels = part.labels[:, episodes]  # (s, n, K)
            classes = classes_of(labels)  # (s, n)
            firings = self._firings(drives, graph, times)
            known = zip(firings, labels.unbind(), classes.unbind(), (classes >= 0).unbind(), strict=True)
            said = []
            for step, (firing, label, class_, labelled) in enumerate(known, start):
                said.append(times(firing.kept[-1], outputs).squeeze(1))  # (n, K)
                predicted = said[-1].argmax(-1)
                active = is_active(self.rule, class_, labelled, predicted)
                n_active = int(active.sum())
                if n_active:
                    code, columns = firing.code.squeeze(1), columns_of(self.rule, label, predicted)
                    if n_active < len(active):
                        columns = columns * active[:, None, None]
                    change.make(code, columns, None if n_active == len(active) else active)
                    if self.lived is not None:
                        self.lived.remember((step, group), code, columns, active)
            self.logits[group, start : start + len(said)] = torch.stack(said, 1)

    def _firings(self, drives: Tensor, graph: Tensor | None, times: RowSums) -> Iterator[Firing]:
        """How the units fire for one example after the other; at once for all if the graph stays as it is."""
        if self.plastic_graph:
            return (self.fire(drive, graph, times=times) for drive in torch.split(drives, 1, 1))
        return self.fire(drives, graph).examples()


class _Change:
    """Changes the weights of a group of networks in place: tables are looked up by rows, for all networks at once."""

    def __init__(self, lesson: _Lesson, networks: Tensor, episodes: Tensor) -> None:
        group = slice(int(networks[0]), int(networks[-1]) + 1)
        own = networks % (lesson.individuals or 1)  # whose rule it is
        self.outputs = lesson.outputs[group]
        count, units, _ = self.outputs.shape
        tables = [table.detach() for table in lesson.tables]
        self.codes = tables[0].shape[1]
        self.output_rows = tables[0][own].flatten(0, 1)  # (n · C, 2)
        self.first_row = torch.arange(count, device=own.device).unsqueeze(1) * self.codes
        self.graph: Tensor | None = None
        if lesson.graph is not None and lesson.plastic_graph:
            self.graph = lesson.graph[group].view(-1, units)  # (n · V, V)
            edges = lesson.state["edges"][episodes].view(-1, units)
            self.graph_table = tables[1][own]  # (n, C, C)
            self.rows = lesson.graph.new_zeros(count * self.codes + 1, units)  # the last is for who does not change
            self.size = max(1, RATES // units)
            rates = torch.empty_like(self.graph[: self.size])
            blocks = zip(torch.split(self.graph, self.size), torch.split(edges, self.size), strict=True)
            self.blocks = [(graph, edges, rates[: len(graph)]) for graph, edges in blocks]

    def make(self, code: Tensor, columns: Tensor, active: Tensor | None) -> None:
        """Change all weights by one example: codes (n, V), columns (n, 2, K), which networks change (n,), None: all."""
        chosen = code + self.first_row  # (n, V)
        rates = self.output_rows.index_select(0, chosen.view(-1)).view(*code.shape, 2)
        self.outputs.baddbmm_(rates, columns)
        if self.graph is None:
            return
        across = code.unsqueeze(1).expand(-1, self.codes, -1)
        torch.gather(self.graph_table, 2, across, out=self.rows[:-1].view(len(code), self.codes, -1))
        if active is not None:
            chosen.masked_fill_(~active.unsqueeze(1), len(self.rows) - 1)
        for (graph, edges, rates), rows in zip(self.blocks, torch.split(chosen.view(-1), self.size), strict=True):
            torch.index_select(self.rows, 0, rows, out=rates)
            graph.addcmul_(edges, rates)
