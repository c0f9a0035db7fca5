"""Claims 11 and 17: plastic networks classify images after one look at each class."""

from functools import partial
from typing import Any, NamedTuple

from agents import Agent, make_for
from evolution.claims.finding import ClaimSettings, Finding
from evolution.claims.learners import Contest
from evolution.claims.trainings import Learner
from evolution.evaluation.evaluate import evaluate
from evolution.evaluation.statistics import mean_interval
from plastic_envs.core.supervised import SupervisedTask
from plastic_envs.data.files import named_folder
from plastic_envs.tasks import make_task

NEAREST = "nearest neighbour"


class Sizes(NamedTuple):
    """How long agents learn."""

    budget: int
    seeds: int
    batch_size: int = 16
    evals: int = 8
    eval_episodes: int = 1000


def head(settings: ClaimSettings) -> Finding:
    """Claim 17: a plastic layer behind convolutions, on Omniglot's characters.

    The convolutions are the paper's four with stride 2 or, by Hebb's rule, Conv-4; the rules are the decaying Hebb's
    and Oja's; beside them an LSTM without plasticity behind the strided convolutions. Alphabets for testing are never
    trained on; classes are turned by quarter turns. Where Omniglot's files are not at hand, digits, all behind Conv-4.
    AdamW, learning rate 1e-3 falling to 0 along a cosine. Quick: 12,000 episodes, 1 seed of each; full: 48,000, 3
    seeds.

    It holds if a plastic head's accuracy is above 90% (full), or (quick) above that of the nearest neighbour in pixels
    and of the LSTM, by its 95% interval where there are several seeds.
    """
    source = "omniglot" if _has_omniglot() else "digits"
    task = make_task(f"FewShotImageClassification,source={source}")
    strided = "strided" if source == "omniglot" else "conv4"
    kinds: dict[str, dict[str, Any]] = {
        "plastic head, Hebb": {"rule": "decaying-hebb", "network": "plastic-head", "front_end": strided},
        "plastic head, Oja": {"rule": "oja", "network": "plastic-head", "front_end": strided},
        "LSTM": {"rule": "none", "cell": "lstm", "hidden": 64, "front_end": strided},
    }
    if strided != "conv4":
        kinds["plastic head, Hebb, Conv-4"] = {**kinds["plastic head, Hebb"], "front_end": "conv4"}
    found = contest(task, kinds, Sizes(48_000, 3) if settings.full else Sizes(12_000, 1))
    return _judge(
        found,
        settings,
        "A network whose last layer is plastic classifies characters of alphabets it never saw after one look at each.",
        "Miconi, Clune and Stanley 2018, Differentiable plasticity, section 4.4",
        least=0.9 if settings.full else 0.0,
        where=source,
    )


def networks(settings: ClaimSettings) -> Finding:
    """Claim 11: self-modulated RNNs behind Conv-4, with Hebbian and with gradient plasticity, beside an LSTM without.

    On digits, whose test classes are never trained on, turned by quarter turns; full: on Omniglot where it is at hand.
    Quick: 24,000 episodes, 2 seeds; full: 60,000 and 3 seeds. AdamW, learning rate 1e-3 falling to 0 along a cosine.

    It holds if a plastic network's accuracy is above the LSTM's by more than the 95% Welch interval, and above that of
    the nearest neighbour in pixels and chance by its own interval.
    """
    source = "omniglot" if settings.full and _has_omniglot() else "digits"
    found = contest(
        make_task(f"FewShotImageClassification,source={source}"),
        {
            "RNN, Hebbian": {"rule": "hebbian", "hidden": 128, "front_end": "conv4"},
            "RNN, gradient": {"rule": "gradient", "hidden": 128, "front_end": "conv4"},
            "LSTM": {"rule": "none", "cell": "lstm", "hidden": 128, "front_end": "conv4"},
        },
        Sizes(60_000, 3) if settings.full else Sizes(24_000, 2),
    )
    return _judge(
        found,
        settings,
        "Plastic recurrent networks behind a convolutional one learn one-shot image classification end to end.",
        "Duan et al. 2023, Hebbian and Gradient-based Plasticity, section on one-shot image classification",
        least=0.0,
        where=source,
    )


def contest(task: Any, agents: dict[str, dict[str, Any]], sizes: Sizes) -> Contest:
    """Networks by name; those whose rule is none are the others."""
    searcher = f"backprop,learning_rate=0.001,batch_size={sizes.batch_size},schedule=cosine"
    return Contest(
        task,
        {name: Learner(partial(_make, task, how), searcher) for name, how in agents.items()},
        ours=[name for name, how in agents.items() if how["rule"] != "none"],
        budget=sizes.budget,
        seeds=sizes.seeds,
        evals=sizes.evals,
        eval_episodes=sizes.eval_episodes,
        bound=0.9,
    )


def _make(task: SupervisedTask, how: dict[str, Any], seed: int) -> Agent:
    return make_for(task, seed=seed, **how)


def _judge(found: Contest, settings: ClaimSettings, claim: str, source: str, *, least: float, where: str) -> Finding:
    """Whether one of ours is above the others, the nearest neighbour, chance and an accuracy."""
    table = found.run(settings)
    references = evaluate(next(iter(table.values()))[0].agent, found.task, found.eval_episodes).references
    bar = max(least, references[NEAREST], references["chance"])

    def good(name: str) -> bool:
        interval = mean_interval([curve.final for curve in table[name]])
        if interval.n == 1:  # one seed: no interval to be above by
            others = [table[other][0].final for other in table.keys() - set(found.ours)]
            beside = max(bar, *others)
            return interval.mean > beside and not interval.ties(beside)
        return interval.above(bar) and found.wins(table, name)

    best = max(found.ours, key=lambda name: mean_interval([curve.final for curve in table[name]]).mean)
    reached = mean_interval([curve.final for curve in table[best]])
    others = ", ".join(
        f"{name} {mean_interval([curve.final for curve in table[name]]).mean:.1%}"
        for name in sorted(table.keys() - set(found.ours))
    )
    return Finding(
        claim=claim,
        source=source,
        holds=any(good(name) for name in found.ours),
        verdict=f"on {where} the best plastic network, {best}, reaches {reached.text('.1%', '.1%')}; {others}; nearest "
        f"neighbour in pixels {references[NEAREST]:.1%}, chance {references['chance']:.1%}",
        figures=found.rows(table),
        draw=lambda canvas: found.draw(table, canvas.subplots()),
    )


def _has_omniglot() -> bool:
    folder = named_folder(None)
    return folder is not None and any(folder.glob("**/images_background*"))
