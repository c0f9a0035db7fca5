"""Learning from a stream of labelled examples: Cristian et al., sections 2 and A; Shervani-Tabar and Rosenbaum 2023."""

import copy
from typing import Any, Literal, Self

import torch
from torch import Tensor
from torch.nn import functional

from plastic_envs.core.draws import draw_distinct, shuffle
from plastic_envs.core.ridge import ridge
from plastic_envs.core.supervised import SupervisedTask, during
from plastic_envs.core.task import Episode, layout
from plastic_envs.data import load_data
from plastic_envs.utils.checks import check_choice, check_int, check_memory
from plastic_envs.utils.errors import UsageError

Part = Literal["train", "test"]
BLOCK = 250_000  # numbers: a copy of so many stays in the processor's cache
RIDGE_PENALTY = 10.0  # about the best for pixels in [0, 1], and as good as any for the synthetic points


class OnlineClassification(SupervisedTask):
    """See labelled examples one after the other, then name the classes of others.

    ## Description
    Each of the first `n_train` · `passes` steps shows an example with its label, each of the `n_query` steps after them
    one without. Examples are drawn without replacement from the training part of the source; every pass shows the
    same ones in a new random order. With `n_way`, that many classes are drawn per episode, and equally many examples
    and queries of each; the labels stay those of the source. `held_out()` asks for examples of the test part, which
    no search ever sees, after showing examples of the training part (with `query="support"`, of the test part).

    ## Observation Space
    D + C + 1 numbers: `image` (H · W pixels in [0, 1]) or `features`, `label` (one-hot among the C classes of the
    source; zeros in query steps), `query` (1 in query steps).

    ## Action Space
    `Discrete(C)`: the label.

    ## Rewards
    1 for the right label in a query step, 0 otherwise. The loss is the cross-entropy of the query steps, the metric
    the accuracy over them.

    ## Arguments
    * `source` ("digits"): labelled examples, see `plastic_envs.data.load_data`.
    * `n_train` (100), `n_query` (100), `n_way` (None: whatever classes come), `passes` (1): see above. Rosenbaum's
      episode is `n_way=5`, `n_train=250`, `n_query=50` on "emnist-balanced".
    * `query` ("fresh"): the queries are other examples than those shown, or, by "support", some of the shown ones
      (Cristian et al. train a rule so, with `n_query` = `n_train`).
    * `inputs` ("normal"): what the points of a synthetic source are drawn from, "normal" (the text of Cristian et al.)
      or "uniform" (their program).
    """

    def __init__(
        self,
        source: Any = "digits",
        n_train: int = 100,
        n_query: int = 100,
        query: Literal["fresh", "support"] = "fresh",
        n_way: int | None = None,
        passes: int = 1,
        inputs: Literal["normal", "uniform"] = "normal",
    ) -> None:
        check_choice("inputs", inputs, ("normal", "uniform"))
        self.data = data = load_data(source, **({} if inputs == "normal" else {"inputs": inputs}))
        if data.n_classes < 2:
            raise UsageError("source must have at least two classes, and this one has one")
        self.query = check_choice("query", query, ("fresh", "support"))
        self.n_train = check_int("n_train", n_train, 1)
        self.n_query = check_int("n_query", n_query, 1, n_train if query == "support" else None)
        self.n_way = None if n_way is None else check_int("n_way", n_way, 2, data.n_classes)
        self.passes = check_int("passes", passes, 1)
        for name, value in (("n_train", n_train), ("n_query", n_query)):
            if value % (n_way or 1):
                raise UsageError(f"{name} must be a multiple of n_way={n_way}, not {value}")
        self.first_query = n_train * passes
        self.horizon = self.first_query + n_query
        example = {"features": data.features.shape[1]} if data.image_shape is None else {"image": data.image_shape}
        self.slices = layout({**example, "label": data.n_classes, "query": 1}, feedback=["label"])
        self.observation_bound = 1.0 if data.image_shape else max(1.0, float(data.features.abs().max()))
        self.output_size = data.n_classes
        self.action_kind = "discrete"
        self.chance = 1 / data.n_classes
        self.best = 1.0
        self.references = {
            "majority class": self.majority_class,
            "nearest class mean": self.nearest_class_mean,
            "ridge": self.ridge,
        }
        self.oracle = self.truth
        self._pools = {part: _Pool(data.labels, data.rows(part), data.n_classes, n_way) for part in ("train", "test")}
        self._shown: Part = "train"
        self._asked: Part = "train"
        # Whether fresh examples are left to ask for is left to `sample`: those of `held_out` are of the test part.
        self._check_enough("train", n_train=n_train)
        self._check_enough("test", **({"n_train": n_train} if query == "support" else {"n_query": n_query}))

    def _check_enough(self, part: Part, **numbers: int) -> None:
        """Refuse to draw more examples, in all or of each class, than a part has."""
        least = int(self._pools[part].counts.min())
        if sum(numbers.values()) // (self.n_way or 1) > least:
            what = " and ".join(f"{name}={value}" for name, value in numbers.items())
            where = "training" if part == "train" else "test"
            of_each = "" if self.n_way is None else f" of some class, for n_way={self.n_way}"
            raise UsageError(
                f"{what} without replacement is more than the {where} part has: {least:,} examples{of_each}"
            )

    def held_out(self) -> Self:
        """The same task with queries from the test part."""
        task = copy.copy(self)
        task._asked = "test"
        task._shown = "test" if self.query == "support" else "train"
        return task

    def sample(self, batch_size: int, generator: torch.Generator) -> Episode:
        """Draw episodes; hidden: which `example` of the source each step shows (T, B).

        Raises:
            UsageError: the training part has too few examples to ask for fresh ones, or memory is short.
        """
        data, n_seen, device = self.data, self.first_query, generator.device
        assert n_seen is not None
        n_numbers = self.horizon * batch_size * self.observation_size
        cost = f"n_train={self.n_train} and the rest of a batch of {batch_size} episodes take {n_numbers:,} numbers"
        check_memory(cost, 4e-9 * n_numbers, "take a smaller n_train or batch")
        shown, asked = self._draw(batch_size, generator)
        rows = torch.cat([shuffle(shown, generator) for _ in range(self.passes)] + [shuffle(asked, generator)])
        labels = data.labels[rows.cpu()].to(device)  # (T, B)
        inputs = torch.zeros(self.horizon, batch_size, self.observation_size, device=device)
        n_features = data.features.shape[1]
        n_steps = max(1, BLOCK // (batch_size * n_features))
        for block, chosen in zip(torch.split(inputs, n_steps), torch.split(rows.cpu(), n_steps), strict=True):
            block[..., :n_features] = data.take(chosen).to(device)
        inputs[:n_seen, :, n_features:-1].scatter_(-1, labels[:n_seen].unsqueeze(-1), 1.0)
        inputs[n_seen:, :, -1] = 1.0
        query = during(torch.arange(self.horizon, device=device) >= n_seen, batch_size)
        return Episode(inputs, labels, query, query, {"example": rows})

    def _draw(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Which examples each episode shows (n_train, B) and asks for (n_query, B), class after class."""
        n_groups = self.n_way or 1
        n_shown, n_asked = self.n_train // n_groups, self.n_query // n_groups
        shown, asked = self._pools[self._shown], self._pools[self._asked]
        n_classes = torch.full((batch_size,), len(shown.counts), device=generator.device)
        groups = draw_distinct(n_classes, n_groups, generator)  # (n_way, B)
        if self.query == "support":
            rows = shown.draw(groups, n_shown, generator)
            return rows.flatten(0, 1), rows[:n_asked].flatten(0, 1)
        if self._shown != self._asked:
            apart = shown.draw(groups, n_shown, generator), asked.draw(groups, n_asked, generator)
            return apart[0].flatten(0, 1), apart[1].flatten(0, 1)
        self._check_enough(self._asked, n_train=self.n_train, n_query=self.n_query)
        rows = shown.draw(groups, n_shown + n_asked, generator)  # (n, n_way, B)
        return rows[:n_shown].flatten(0, 1), rows[n_shown:].flatten(0, 1)

    def _parts(self, episode: Episode) -> tuple[Tensor, Tensor, Tensor]:
        """The shown examples (B, n_train, D), their labels (B, n_train, C) and the queries (B, n_query, D)."""
        n_features = self.data.features.shape[1]
        by_episode = episode.inputs.transpose(0, 1)
        shown = by_episode[:, : self.n_train]  # further passes show the same
        return shown[..., :n_features], shown[..., n_features:-1], by_episode[:, self.first_query :, :n_features]

    def _answers(self, episode: Episode, answers: Tensor) -> Tensor:
        """Outputs (T, B, C): the label that is shown, then the answers (B, n_query, C) to the queries."""
        outputs = episode.inputs[..., self.slices["label"].columns].clone()
        outputs[self.first_query :] = answers.transpose(0, 1)
        return outputs

    def majority_class(self, episode: Episode) -> Tensor:
        """The class that most of the shown examples are of."""
        _, labels, queries = self._parts(episode)
        return self._answers(episode, labels.sum(1, keepdim=True).expand(-1, queries.shape[1], -1))

    def nearest_class_mean(self, episode: Episode) -> Tensor:
        """The class whose shown examples have the nearest mean."""
        shown, labels, queries = self._parts(episode)
        counts = labels.sum(1)  # (B, C)
        means = labels.mT @ shown / counts.clamp(min=1).unsqueeze(-1)  # (B, C, D)
        closeness = queries @ means.mT - means.square().sum(-1).unsqueeze(1) / 2  # (B, n_query, C)
        return self._answers(episode, closeness.masked_fill((counts == 0).unsqueeze(1), -torch.inf))

    def ridge(self, episode: Episode) -> Tensor:
        """The class whose one-hot label a ridge regression on the shown examples gives the most."""
        shown, labels, queries = self._parts(episode)
        return self._answers(episode, ridge(shown, labels, queries, RIDGE_PENALTY))

    def truth(self, episode: Episode) -> Tensor:
        """The oracle: it knows the labels."""
        return functional.one_hot(episode.targets, self.output_size).float()


class _Pool:
    """The examples of a part, group after group: a group is a class, or all examples if classes are not drawn."""

    def __init__(self, labels: Tensor, rows: Tensor, n_classes: int, n_way: int | None) -> None:
        group = labels[rows] if n_way is not None else torch.zeros_like(rows)
        self.rows = rows[group.argsort(stable=True)]
        self.counts = group.bincount(minlength=n_classes if n_way is not None else 1)
        self.starts = self.counts.cumsum(0) - self.counts

    def draw(self, groups: Tensor, n: int, generator: torch.Generator) -> Tensor:
        """Draw n different examples of each of the groups (G, B): (n, G, B), row numbers of the data."""
        rows, counts, starts = (part.to(generator.device) for part in (self.rows, self.counts, self.starts))
        return rows[draw_distinct(counts[groups], n, generator) + starts[groups]]
