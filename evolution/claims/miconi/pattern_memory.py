"""Claim 15: plastic networks store patterns of bits and complete them, where other networks hardly learn to."""

from functools import partial

from agents import Agent, make_for
from evolution.claims.finding import ClaimSettings, Finding
from evolution.claims.learners import Contest
from evolution.claims.trainings import Learner
from plastic_envs.core.task import Task
from plastic_envs.tasks import make_task

PLASTIC = "plastic RNN"
SEARCHER = "backprop,optimizer=adam,amsgrad=false,learning_rate=0.001,batch_size={batch}"
STORED = 0.01
"""The error rate below which the patterns count as stored."""


def pattern_memory(settings: ClaimSettings) -> Finding:
    """Differentiable plasticity against recurrent networks without it, on the same episodes and learning rate.

    The networks without plasticity are a plain RNN and an LSTM with as many parameters, and both with more units: 500
    more (quick) or 2,000. Quick: the authors' small version, 50 bits and 2 patterns, 3 seeds. Full: that, and 1,000
    bits and 5 patterns, with 1 seed, in the same number of episodes.

    It holds if at the end of the budget the plastic network's error rate is below that of every other by more than the
    95% Welch interval (on the small version), and, in the full settings, if it falls below 1% at full size.
    """
    small = contest(settings.full)
    table = small.run(settings)
    rows = [{"task": "50 bits", **row} for row in small.rows(table)]
    holds, verdict = small.wins(table, PLASTIC), f"50 bits, 2 patterns: {small.verdict(table)}"
    if settings.full:
        large = full_size()
        found = large.run(settings)
        rows += [{"task": "1000 bits", **row} for row in large.rows(found)]
        least = min(found[PLASTIC][0].metric)
        holds = holds and least < STORED
        verdict += f"; 1,000 bits, 5 patterns: the plastic network's error falls to {least:.2%}"
    return Finding(
        claim="A plastic network stores patterns of bits and completes them; a plain RNN and an LSTM, even with many "
        "more units, hardly learn to in as many episodes.",
        source="Miconi, Clune and Stanley 2018, Differentiable plasticity, section 4.2",
        holds=holds,
        verdict=verdict,
        figures=rows,
        draw=lambda canvas: small.draw(table, canvas.subplots()),
    )


def contest(full: bool) -> Contest:
    """The small version."""
    task = make_task("SmallPatternCompletion,bias=true")
    extra = 2000 if full else 500
    budget = 10_000 if full else 6000
    return _contest(task, budget, 8, extra, seeds=5 if full else 3, eval_episodes=500)


def full_size() -> Contest:
    """1,000 bits, where each kind has as many parameters as the plastic network."""
    task = make_task("PatternCompletion,bias=true")
    return _contest(task, 2000, 4, None, seeds=1, eval_episodes=100)


def _contest(task: Task, budget: int, batch: int, extra: int | None, *, seeds: int, eval_episodes: int) -> Contest:
    units = task.observation_size
    parameters = 2 * units * units + 1
    learners = {
        PLASTIC: partial(_recurrent, task, "decaying-hebb", units),
        "RNN, equal size": partial(_recurrent, task, "none", round(parameters**0.5)),
        "LSTM, equal size": partial(_lstm, task, {"parameters": parameters}),
    }
    if extra is not None:
        learners[f"RNN, {extra:,} more units"] = partial(_recurrent, task, "none", units + extra)
        learners[f"LSTM, {extra:,} more units"] = partial(_lstm, task, {"hidden": units + extra})
    searcher = SEARCHER.format(batch=batch)
    return Contest(
        task,
        {name: Learner(make, searcher) for name, make in learners.items()},
        ours=[PLASTIC],
        budget=budget,
        seeds=seeds,
        evals=10,
        eval_episodes=eval_episodes,
        bound=STORED,
        name=type(task).__name__,
    )


def _recurrent(task: Task, rule: str, units: int, seed: int) -> Agent:
    return make_for(task, rule=rule, network="plastic-rnn", input="add", hidden=units, seed=seed)


def _lstm(task: Task, size: dict[str, int], seed: int) -> Agent:
    return make_for(task, rule="none", cell="lstm", spare_outputs=0, modulation="none", seed=seed, **size)
