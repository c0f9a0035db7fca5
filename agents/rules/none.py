"""The control: weights that stay as they were at birth."""

from typing import ClassVar

from agents.rules.base import RankOne, Rule, Signal, Signals


class NoPlasticity(Rule):
    """Nothing changes within an episode; the network is an ordinary RNN or LSTM and holds no fast weights."""

    needs: ClassVar[frozenset[Signal]] = frozenset()
    batched: ClassVar[bool] = True

    def change(self, signals: Signals) -> RankOne:
        """Never called: a network without plasticity has no fast weights to change."""
        raise NotImplementedError
