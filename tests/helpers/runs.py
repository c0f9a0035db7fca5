"""Small runs for the tests of training, and what must be equal between two of them."""

import csv
import json

from evolution import RunSettings

TASK = "SequenceReproduction,seq_length=1,delay=0"

SEARCHERS = {
    "backprop": "backprop,batch_size=16",
    "a2c": "a2c,batch_size=16",
    "ppo": "ppo,batch_size=16,minibatch_size=8,n_epochs=2",
    "pgpe": "pgpe,popsize=8,episodes=2",
    "snes": "snes,popsize=8,episodes=2",
    "xnes": "xnes,popsize=8,episodes=2",
    "cem": "cem,popsize=8,episodes=2",
    "cmaes": "cmaes,popsize=8,episodes=2",
    "ga": "ga,popsize=4,episodes=2",
    "alleles": "alleles,popsize=8,episodes=2",
}
CLOCKS = {"seconds", "cpu_seconds"}


def settings(searcher="backprop", **changes):
    """A run of 24 steps and 6 evaluations, in a fraction of a second."""
    given = {"hidden": 4, "budget": 24 * 16, "evals": 6, "eval_episodes": 20} | changes
    return RunSettings(TASK, searcher=SEARCHERS.get(searcher, searcher), **given)


def numbers(folder):
    """Everything in a run folder that equal settings must make equal: to the byte, but for the clocks."""
    with (folder / "history.csv").open() as file:
        history = [{k: v for k, v in row.items() if k not in CLOCKS} for row in csv.DictReader(file)]
    result = {k: v for k, v in json.loads((folder / "result.json").read_text()).items() if k not in CLOCKS}
    files = {name: (folder / name).read_bytes() for name in ("agent.safetensors", "agent.json", "config.json")}
    return history, result, files
