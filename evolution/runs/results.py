"""What a run tells while it goes, and what it came to."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from plastic_envs.utils.checks import LARGEST, check_choice, check_float, check_int, shown

Status = Literal["finished", "diverged", "interrupted"]


@dataclass(frozen=True)
class RunProgress:
    """Where a run stands after a step."""

    episodes: int
    budget: int
    loss: float  # of the last step
    metric: float  # of the last evaluation
    seconds: float  # all sittings of the run together
    rate: float  # episodes a second in this sitting, evaluations included
    pays_reward: bool = False  # whether the loss is minus the reward of an episode

    @property
    def told(self) -> str:
        """What is shown of the last step: its loss, or the reward where that is all there is."""
        return f"reward {-self.loss:.4g}" if self.pays_reward else f"loss {self.loss:.4g}"

    @property
    def seconds_left(self) -> float:
        """Estimate at this rate."""
        return max(0, self.budget - self.episodes) / self.rate if self.rate else math.inf


Progress = Callable[[RunProgress], None]


@dataclass(frozen=True)
class RunResult:
    """What a run came to, by the agent in its folder; the interval is a bootstrap over what is drawn apart."""

    status: Status
    metric: float
    metric_low: float
    metric_high: float
    loss: float
    episodes: int
    env_steps: int
    seconds: float
    cpu_seconds: float
    n_searched: int
    references: Mapping[str, float]
    chance: float | None
    best: float | None

    @property
    def named_references(self) -> dict[str, float]:
        """Chance, the reference predictors on the evaluation episodes and the best possible, as far as known."""
        return named_references(self.chance, self.references, self.best)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "RunResult":
        """From result.json, where null stands for a score that is not finite.

        Raises:
            TypeError: a field is missing or unknown, or holds something else.
            UsageError: the status or a count is none.
        """
        scores = ("metric", "metric_low", "metric_high", "loss")
        nan: dict[str, Any] = {key: math.nan for key in scores if values.get(key, 0) is None}
        result = cls(**{**values, **nan})
        check_choice("status", result.status, get_args(Status))
        for name in ("episodes", "env_steps", "n_searched"):
            check_int(name, getattr(result, name), low=0)
        for name in ("seconds", "cpu_seconds"):
            check_float(name, getattr(result, name), low=0)
        numbers = [getattr(result, name) for name in scores]
        numbers += [value for value in (result.chance, result.best) if value is not None]
        if not isinstance(result.references, Mapping):
            raise TypeError(f"references must be scores by name, not {result.references!r}")
        for number in [*numbers, *(value for value in result.references.values() if value is not None)]:
            if type(number) not in (int, float) or (type(number) is int and abs(number) > LARGEST):
                raise TypeError(f"a score must be a number, not {shown(number)}")
        return result


def named_references(chance: float | None, measured: Mapping[str, float], best: float | None) -> dict[str, float]:
    """What a score stands beside, by name, in the order in which it is shown."""
    named = {"chance": chance, **measured, "best possible": best}
    return {name: value for name, value in named.items() if value is not None and math.isfinite(value)}


class Clock:
    """Wall-clock and processor seconds of a run over all its sittings, and the rate in this one."""

    def __init__(self, seconds: float = 0.0, cpu_seconds: float = 0.0, episodes: int = 0) -> None:
        self._start = time.perf_counter()
        self._seconds_before = seconds
        self._cpu_offset = cpu_seconds - time.process_time()
        self._episodes_before = episodes

    @property
    def seconds(self) -> float:
        """Wall-clock seconds."""
        return self._seconds_before + time.perf_counter() - self._start

    @property
    def cpu_seconds(self) -> float:
        """Processor seconds of this process."""
        return self._cpu_offset + time.process_time()

    def rate(self, episodes: int) -> float:
        """Episodes a second, of those beyond the number this sitting began with."""
        return (episodes - self._episodes_before) / (time.perf_counter() - self._start)
