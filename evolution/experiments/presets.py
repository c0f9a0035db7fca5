"""Ready-made comparisons, as data: a preset is a tuple of grids."""

from collections.abc import Mapping, Sequence

from evolution.experiments.grid import Grid
from evolution.runs.progress import counted
from evolution.runs.settings import OPEN, describe_network
from plastic_envs.utils.checks import choose, shown
from plastic_envs.utils.errors import UnknownNameError

# Small networks need a larger rate: what fast weights recall is a sum over units.
_HEBBIAN = "hebbian,rate=2"
_HEADLINE = "CueReward,n_cues=2,n_stimulus=4,n_show=3,n_query=3,loss_steps=query"
_HEADLINE_PGPE = "pgpe,popsize=32,episodes=16,stdev_init=0.1"
_PAPER_TASKS = (
    "CueReward",
    "SequenceReproduction,seq_length=5,delay=0",
    "SequenceReproduction,seq_length=5,delay=20",
    "FewShotRegression,kind=mlp",
)
_TWO_NUMBERS = ("rule.*", "*.plasticity")  # a rule's rate, and the plasticity that all connections share
# Two tasks of memory, each with its network, on which two numbers are found by gradients and by evolution. SNES, as it
# searches the thousands of weights of the control too.
_DEMO_MEMORIES = tuple(
    Grid(
        (task,), rules, ("backprop,learning_rate=0.01,batch_size=16", "snes,popsize=16,episodes=8,stdev_init=0.2"),
        seeds=(0, 1, 2, 3, 4), budget=4000, network=f"{network},plasticity=shared", evals=10, searched=searched,
    )
    for task, network, eta in (
        ("SmallPatternCompletion,bias=true", "plastic-rnn,input=add", 0.1),
        ("FewShotImageClassification", "plastic-head", 0.3),
    )
    for rules, searched in (((f"decaying-hebb,eta={eta}", f"oja,eta={eta}"), _TWO_NUMBERS), (("none",), ("*",)))
)  # fmt: skip
_LABELS = "OnlineClassification"
_PAPER_RULES = ("hebbian", "gradient", "none", "none-wide")

PRESETS: Mapping[str, tuple[Grid, ...]] = {
    # Settled by measurement with seeds 100 to 102, to show in minutes what larger budgets show too. Processor seconds
    # of all seeds: 120 for the cues, 130 for the patterns, 105 for the digits; 45 more for the report.
    "quick": (
        Grid(
            ("CueReward,n_cues=2,n_show=3,n_query=3,loss_steps=query",), (_HEBBIAN, "none"),
            ("backprop,learning_rate=0.01",), seeds=(0, 1, 2, 3, 4), budget=40_000, cell="rnn", hidden=16, evals=10,
        ),
        *_DEMO_MEMORIES,
    ),
    # With the budget that evolution of all weights needs to get beyond the mean of the shown rewards.
    "headline": (
        Grid(
            (_HEADLINE,), (_HEBBIAN, "none"), ("backprop,batch_size=1024,learning_rate=0.01", _HEADLINE_PGPE),
            seeds=(0, 1, 2, 3, 4), budget=2_500_000, cell="rnn", hidden=16, eval_episodes=4000, evals=10,
        ),
    ),
    # The same local rules by gradients and by evolution; each rule's searchers see the same number of episodes.
    "local-rules": (
        Grid(
            (f"{_LABELS},source=relu1,n_train=100,n_query=100,query=support",), ("firing-table", "firing-network"),
            (
                "backprop,optimizer=adam,amsgrad=false,learning_rate=0.01,batch_size=4",
                "pgpe,popsize=16,episodes=2,stdev_init=0.3,center_learning_rate=0.3",
                "cmaes,popsize=16,episodes=2,stdev_init=0.3",
            ),
            seeds=(0, 1, 2, 3, 4), budget=3200, network="kwta,rounds=3", eval_episodes=200, evals=4,
        ),
        Grid(
            (f"{_LABELS},n_way=5,n_train=250,n_query=50",), ("pool",),
            (
                "backprop,optimizer=adam,amsgrad=false,learning_rate=0.0003,batch_size=1",
                "pgpe,popsize=16,episodes=1,stdev_init=0.001,center_learning_rate=0.001",
                "cmaes,popsize=16,episodes=1,stdev_init=0.001",
            ),
            seeds=(0, 1, 2, 3, 4), budget=640, eval_episodes=50, evals=2,
        ),
    ),
    # Two numbers each, a rule's learning rate and the plasticity that all connections share, by gradients and by
    # evolution; slow weights stay as they were drawn.
    "memory": (
        Grid(
            ("SmallPatternCompletion,bias=true",), ("decaying-hebb,eta=0.1", "oja,eta=0.1", "additive-hebb,eta=0.1"),
            ("backprop,learning_rate=0.01", "cmaes"), seeds=(0, 1, 2), budget=50_000,
            network="plastic-rnn,input=add,plasticity=shared", eval_episodes=500, evals=5,
            searched=_TWO_NUMBERS,
        ),
        Grid(
            ("FewShotImageClassification",), ("decaying-hebb,eta=0.3", "oja,eta=0.3"),
            ("backprop,learning_rate=0.01", "cmaes"), seeds=(0, 1, 2), budget=50_000,
            network="plastic-head,plasticity=shared", eval_episodes=1000, evals=5,
            searched=_TWO_NUMBERS,
        ),
    ),
    # The papers' sizes with the RNN: 5,000 updates of 64 episodes. Hours; resumes.
    "full": (
        Grid(
            _PAPER_TASKS, _PAPER_RULES, ("backprop", "pgpe"), seeds=(0, 1, 2, 3, 4),
            budget=320_000, cell="rnn", hidden=128, eval_episodes=4000, evals=25,
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


HINTS: Mapping[str, str] = {
    "quick": "Evolution finds two numbers here. To find all weights of a network it needs more episodes than these "
    "minutes hold: plastic-envs compare --preset headline --out DIR (some 20 minutes on two cores)."
}
"""What to run next, printed after a preset's table."""


def preset(name: str) -> tuple[Grid, ...]:
    """The grids of a preset.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in PRESETS:
        raise UnknownNameError(f"unknown preset {shown(name)}: {choose(name, PRESETS)}")
    return PRESETS[name]


def describe(grids: Sequence[Grid]) -> str:
    """A line about a preset, from its grids."""
    tasks = dict.fromkeys(task.partition(",")[0] for grid in grids for task in grid.tasks)
    runs = sum(len(list(grid.cells())) * len(grid.seeds) for grid in grids)
    sizes = sorted({describe_network(**{**OPEN, **kind}) for grid in grids for kind in grid.network_settings})
    return f"{counted(runs, 'run')} on {', '.join(tasks)}; {', '.join(sizes)}"
