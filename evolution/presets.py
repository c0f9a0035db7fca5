"""Ready-made comparisons, as data: a preset is a tuple of grids."""

from collections.abc import Mapping, Sequence

from evolution.grid import Grid
from plastic_envs.errors import UsageError

_RULES = ("hebbian", "gradient", "none")
_HEADLINE = "CueReward,n_cues=3"
_SMALL_TASKS = ("FewShotRegression,kind=linear,n_inputs=3,n_train=10,n_test=10", "FewShotImageClassification")
_PAPER_TASKS = (
    "CueReward",
    "SequenceReproduction,seq_length=5,delay=0",
    "SequenceReproduction,seq_length=5,delay=20",
    "FewShotRegression,kind=mlp",
)
_PAPER_RULES = ("hebbian", "gradient", "none", "none-wide")

PRESETS: Mapping[str, tuple[Grid, ...]] = {
    # Sizes settled by measurement: the whole ends within nine minutes on two cores.
    "quick": (
        Grid(
            (_HEADLINE,), _RULES, ("backprop", "pgpe"), seeds=(0, 1, 2, 3, 4),
            budget=50_000, hidden=32, eval_episodes=1000, evals=10,
        ),
        Grid(_SMALL_TASKS, _RULES, ("backprop", "pgpe"), seeds=(0,), budget=30_000, hidden=32, evals=10),
    ),
    # The papers' sizes with the RNN: 5,000 updates of 64 episodes. Hours; resumes.
    "full": (
        Grid(
            _PAPER_TASKS, _PAPER_RULES, ("backprop", "pgpe"), seeds=(0, 1, 2, 3, 4),
            budget=320_000, hidden=128, eval_episodes=4000, evals=25,
        ),
    ),
    # The same with the LSTM, which has half the RNN's units in most of the authors' experiments.
    "full-lstm": (
        Grid(
            _PAPER_TASKS, _PAPER_RULES, ("backprop", "pgpe"), seeds=(0, 1, 2, 3, 4),
            budget=320_000, cell="lstm", hidden=64, eval_episodes=4000, evals=25,
        ),
    ),
}  # fmt: skip


def preset(name: str) -> tuple[Grid, ...]:
    """The grids of a preset.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in PRESETS:
        raise UsageError(f"unknown preset {name!r}: choose from {', '.join(PRESETS)}")
    return PRESETS[name]


def describe(grids: Sequence[Grid]) -> str:
    """A line about a preset, from its grids."""
    tasks = dict.fromkeys(task.partition(",")[0] for grid in grids for task in grid.tasks)
    runs = sum(len(list(grid.cells())) * len(grid.seeds) for grid in grids)
    cells = sorted({f"{grid.cell} with {grid.hidden} units" for grid in grids})
    return f"{runs} runs on {', '.join(tasks)}; {', '.join(cells)}"
