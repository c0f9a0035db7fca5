"""Claim 8: learning from every example or on all edges does as well as on mistakes and two edges; both do not."""

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch

from agents.networks.kwta.closed_form import best_output_rule
from agents.networks.kwta.network import KWTANetwork
from evolution.claims.cristian.kwta_classifiers import (
    SOURCES,
    STARTS,
    Trained,
    available,
    classification,
    learn_rule,
    plain_rule,
    train_by_rule,
)
from evolution.claims.finding import ClaimSettings, Finding, Value, half_width
from evolution.claims.parts import part
from evolution.evaluation.statistics import difference_interval, mean_interval
from evolution.reports.plots.style import PALETTE, percent
from evolution.seeding import make_generator
from plastic_envs.tasks.online_classification import OnlineClassification

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMES = {
    "mistakes": "when=mistakes,edges=pair",
    "every example": "when=always,edges=pair",
    "all edges": "when=mistakes,edges=all",
    "both": "when=always,edges=all",
}
USUAL, CLOSED = "mistakes", "both, closed form"
AS_GOOD = ("every example", "all edges")
WORSE = ("both", CLOSED)
TOLERANCE = 0.02  # what counts as well as the usual scheme


class Sizes(NamedTuple):
    """How large the networks are (the graph's rule is learned on fewer units) and how long they learn."""

    units: int
    units_learned_on: int
    n_train: int
    n_test: int
    updates: int
    retrainings: int


QUICK, FULL = Sizes(200, 100, 2000, 1000, 60, 5), Sizes(1000, 200, 60_000, 10_000, 150, 5)
Accuracies = dict[tuple[int, str], list[float]]  # by rounds and scheme, of each retraining


def schemes(settings: ClaimSettings) -> Finding:
    """Accuracy after one pass over digits and, where it is found, MNIST, by when and where a rule changes weights.

    Half of the units may fire. The output rule is the perceptron's, for T = 1 and T = 3; for T = 3 the graph's rule is
    learned beside it, on smaller networks, from mistakes. With both schemes and a graph that does not learn, T = 1, the
    output rule that is best for the squared error has a closed form. On MNIST (without it, on digits) it holds if
    learning from every example, and on all edges, each loses at most 2 points of mean accuracy to learning from
    mistakes on two edges, for both T; and if both together, for both T, and the closed form lose: Welch's interval of
    the difference over retrainings is below 0. (The perceptron's two columns cancel where the predicted class is the
    true one, so for T = 1 every example is the same as mistakes, exactly; for T = 3 the graph changes more.)
    """
    sizes = FULL if settings.full else QUICK
    table = {source: measure(source, sizes, settings.seed) for source in available(*SOURCES)}
    rows = [row for source, accuracies in table.items() for row in _rows(source, accuracies)]
    decisive = next(reversed(table))  # MNIST comes last
    return Finding(
        claim="Learning from every example, or on all edges, each does as well as from mistakes on two edges; both "
        "together fall behind, as does the rule that is best for the squared error.",
        source="Cristian, Dabagia, Papadimitriou, Vempala 2020, A.4 and figure 6",
        holds=all(row["as claimed"] for row in rows if row["data"] == decisive),
        verdict=_verdict(rows, decisive),
        figures=rows,
        draw=partial(_draw, table),
        size=(5.5 * len(table), 4.5),
    )


def measure(source: str, sizes: Sizes, seed: int) -> Accuracies:
    """Retrain by each scheme, on equal births and examples."""
    task = classification(source, sizes.n_train, sizes.n_test)
    start = "output=fired,output_start=perceptron"
    small = f"kwta,hidden={sizes.units_learned_on},rounds=3"
    learned = learn_rule(
        source, f"firing-network,{start}", small, sizes.updates, seed, searched="rule.graph_*", starts=STARTS
    )
    accuracies: Accuracies = {}
    for rounds, rule in ((1, "firing-output"), (3, "firing-network")):
        for name, options in SCHEMES.items():
            network = f"kwta,hidden={sizes.units},rounds={rounds}"
            teacher = plain_rule(source, f"{rule},{start},{options}", network)
            if rounds == 3:
                teacher.rule.load_state_dict(learned.rule.state_dict())
            generator = make_generator(seed, f"claim {source}")
            with part(f"{source}, {name}, T={rounds}") as tell:
                trained = train_by_rule(teacher, task, network, sizes.retrainings, generator)
                tell("accuracy", trained.mean)
            accuracies[rounds, name] = trained.accuracy
            if (rounds, name) == (1, "both"):
                accuracies[rounds, CLOSED] = by_closed_form(trained, task)
    return accuracies


def by_closed_form(networks: Trained, task: OnlineClassification) -> list[float]:
    """Accuracy on the test part with the outputs of the best rule for the first `n_train` of the training part."""
    data = task.data
    train, test = data.rows("train")[: task.n_train], data.rows("test")
    accuracy = []
    for index in range(len(networks.accuracy)):
        inputs = networks.only(index)["inputs"]
        seen = _activity(networks.network, data.take(train), inputs)
        best = best_output_rule(seen, data.labels[train], data.n_classes)
        activity = _activity(networks.network, data.take(test), inputs).double()
        accuracy.append(float(((activity @ best.weights).argmax(-1) == data.labels[test]).double().mean()))
    return accuracy


def _activity(network: KWTANetwork, features: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Of the units of one network, (N, V), for features (N, F)."""
    return torch.cat([network.fire(part @ inputs[0], None).activity for part in torch.split(features, 1024)])


def _rows(source: str, accuracies: Accuracies) -> list[dict[str, Value]]:
    rows: list[dict[str, Value]] = []
    for (rounds, name), accuracy in accuracies.items():
        interval = mean_interval(accuracy)
        lead = difference_interval(accuracy, accuracies[rounds, USUAL])
        behind = lead.below(0)
        rows.append(
            {
                "data": source,
                "rounds": rounds,
                "scheme": name,
                "accuracy": interval.mean,
                "± half width": half_width(interval),
                "over mistakes": lead.mean,
                "± of that": half_width(lead),
                "as claimed": behind if name in WORSE else lead.reaches(-TOLERANCE),
            }
        )
    return rows


def _verdict(rows: list[dict[str, Value]], source: str) -> str:
    decisive = [row for row in rows if row["data"] == source and row["scheme"] != USUAL]

    def where(met: bool) -> str:
        return (
            ", ".join(f"{row['scheme']} (T={row['rounds']})" for row in decisive if row["as claimed"] == met) or "none"
        )

    return f"on {source}, as claimed: {where(True)}; not: {where(False)}" + (
        "" if source == "mnist" else "; MNIST was not found"
    )


def _draw(table: dict[str, Accuracies], canvas: "Figure") -> None:
    """Bars of accuracy, a panel for each source."""
    for axes, (source, accuracies) in zip(canvas.subplots(1, len(table), squeeze=False)[0], table.items(), strict=True):
        for place, ((rounds, _), accuracy) in enumerate(accuracies.items()):
            interval = mean_interval(accuracy)
            axes.bar(place, interval.mean, yerr=interval.half_width, color=PALETTE[rounds // 2], capsize=3)
        names = [f"{name}, T={rounds}" for rounds, name in accuracies]
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
        axes.grid(visible=False, axis="x")
        axes.set_title(source)
        axes.set_ylim(0, 1.03)
        percent(axes.yaxis)
    canvas.axes[0].set_ylabel("accuracy on the test part")
