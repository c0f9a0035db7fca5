"""A claim of your own: on a copying task a Hebbian network learns more than an ordinary one in as many episodes.

Run it without touching the package, two agents side by side; broken off it goes on with --resume:
plastic-envs claim examples.custom_claim:copying --jobs 2 --out runs/copying
"""

from functools import partial

from agents import Agent, make_for
from evolution import ClaimSettings, Contest, Finding, Learner
from plastic_envs import Task, make_task


def make(task: Task, rule: str, seed: int) -> Agent:
    """An agent before its training: a function of a module, so that other processes can be given it."""
    return make_for(task, rule=rule, hidden=16, seed=seed)


def copying(settings: ClaimSettings) -> Finding:
    """Self-modulated RNNs of 16 units with and without Hebbian plasticity, trained by backpropagation.

    Quick: 6,400 episodes, 3 seeds; full: ten times the episodes and 5 seeds. It holds if the error on held-out episodes
    is lower with plasticity by more than the 95% Welch interval of the difference.
    """
    task = make_task("SequenceReproduction,seq_length=2,delay=2")
    contest = Contest(
        task,
        {rule: Learner(partial(make, task, rule), "backprop,batch_size=64") for rule in ("hebbian", "none")},
        ours=["hebbian"],
        budget=64_000 if settings.full else 6400,
        seeds=5 if settings.full else 3,
        evals=4,
        eval_episodes=200,
        bound=0.1,
    )
    curves = contest.run(settings)
    return Finding(
        claim="Plasticity helps to copy short sequences.",
        source="an example",
        holds=contest.wins(curves, "hebbian"),
        verdict=contest.verdict(curves),
        figures=contest.rows(curves),
        draw=lambda canvas: contest.draw(curves, canvas.subplots()),
    )
