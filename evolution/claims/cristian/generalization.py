"""Claim 6: rules that were learned on simple data train other networks on other data."""

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from evolution.claims.cristian.kwta_classifiers import STARTS, available, classification, learn_rule, train_by_rule
from evolution.claims.finding import ClaimSettings, Finding, Value, half_width
from evolution.claims.parts import part
from evolution.evaluation.statistics import difference_interval, mean_interval
from evolution.reports.plots.style import PALETTE, percent
from evolution.seeding import make_generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SOURCES = ("halfspace", "relu1", "relu2", "rnn", "digits", "mnist", "fashion-mnist")
SMALL = 100  # units of the networks that the rules are learned on


class Sizes(NamedTuple):
    """How large the large networks are, how long all of them learn and how often."""

    large: int
    n_train: int
    n_test: int
    updates: int
    retrainings: int


QUICK, FULL = Sizes(300, 1000, 1000, 100, 5), Sizes(1000, 10_000, 10_000, 400, 10)


class Cell(NamedTuple):
    """One network on one data set."""

    rounds: int
    units: int
    accuracy: list[float]  # of each retraining
    majority: float  # share of the most frequent class in the test part

    @property
    def name(self) -> str:
        """Of the network."""
        return f"T={self.rounds}, {self.units} units"


def generalization(settings: ClaimSettings) -> Finding:
    """Two learned rules at work in four networks on other data sets than those they were learned on.

    They are four synthetic ones, digits, and those of MNIST and Fashion-MNIST that are found. For T = 1 the output rule
    is learned on halfspace, for T = 3 the graph's rule (a small network) and the output rule together on relu1, both on
    100 units. Then networks of 100 and of many units, born anew, learn by them from one pass over the examples of each
    data set, on mistakes, η = 0.01. It holds if on every data set the large recurrent network (T = 3) is better than
    each of the others: Welch's interval of the difference over retrainings excludes 0. The rules are learned once; what
    else could have come of their learning, other seeds show.
    """
    sizes = FULL if settings.full else QUICK
    teachers = {
        1: learn_rule("halfspace", "firing-output", f"kwta,hidden={SMALL}", sizes.updates, settings.seed),
        3: learn_rule(
            "relu1", "firing-network", f"kwta,hidden={SMALL},rounds=3", sizes.updates, settings.seed, starts=STARTS
        ),
    }
    table: dict[str, list[Cell]] = {}
    for source in available(*SOURCES):
        task = classification(source, sizes.n_train, sizes.n_test)
        labels = task.data.labels[task.data.rows("test")]
        majority = float(labels.bincount().max()) / len(labels)
        table[source] = []
        for rounds, teacher in teachers.items():
            for units in (SMALL, sizes.large):
                generator = make_generator(settings.seed, f"claim {source}")
                with part(f"{source}, T={rounds}, {units} units") as tell:
                    trained = train_by_rule(teacher, task, f"kwta,hidden={units}", sizes.retrainings, generator)
                    tell("accuracy", trained.mean)
                table[source].append(Cell(rounds, units, trained.accuracy, majority))
    rows = [row for source, cells in table.items() for row in _rows(source, cells)]
    standings = [_standing(cells) for cells in table.values()]
    return Finding(
        claim="Rules that were learned on simple data and small networks train others on other data; the large "
        "recurrent network is the best of four.",
        source="Cristian, Dabagia, Papadimitriou, Vempala 2020, section 3, figure 3 and A.2",
        holds=standings.count("better") == len(standings),
        verdict=_verdict(rows, standings, list(table)),
        figures=rows,
        draw=partial(_draw, table),
        size=(11.0, 4.5),
    )


def _rows(source: str, cells: list[Cell]) -> list[dict[str, Value]]:
    rows: list[dict[str, Value]] = []
    for cell in cells:
        interval = mean_interval(cell.accuracy)
        rows.append(
            {
                "data": source,
                "network": cell.name,
                "accuracy": interval.mean,
                "± half width": half_width(interval),
                "majority class": cell.majority,
                "above majority": interval.above(cell.majority),
            }
        )
    return rows


def _standing(cells: list[Cell]) -> str:
    """How the large recurrent network, the last, does beside the others: "better", "worse" or "not told apart"."""
    leads = [difference_interval(cells[-1].accuracy, cell.accuracy) for cell in cells[:-1]]
    if all(lead.above(0) for lead in leads):
        return "better"
    return "worse" if any(lead.below(0) for lead in leads) else "not told apart"


def _verdict(rows: list[dict[str, Value]], standings: list[str], sources: list[str]) -> str:
    above = sum(bool(row["above majority"]) for row in rows)
    missing = [name for name in SOURCES if name not in sources]
    return (
        f"the large recurrent network is better than each of the others on {standings.count('better')} of "
        f"{len(standings)} data sets, worse than another on {standings.count('worse')}; {above} of {len(rows)} cells "
        "are above the majority class" + (f"; not found: {', '.join(missing)}" if missing else "")
    )


def _draw(table: dict[str, list[Cell]], canvas: "Figure") -> None:
    """Four bars for each data set, and a line at the majority class."""
    axes = canvas.subplots()
    for number, cells in enumerate(table.values()):
        for place, cell in enumerate(cells):
            interval = mean_interval(cell.accuracy)
            label = cell.name if number == 0 else None
            x = number + 0.2 * (place - 1.5)
            axes.bar(x, interval.mean, 0.18, yerr=interval.half_width, color=PALETTE[place], capsize=2, label=label)
        axes.hlines(cells[0].majority, number - 0.4, number + 0.4, color="k", ls=":")
    axes.set_xticks(range(len(table)), list(table))
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("accuracy on the test part (dotted: majority class)")
    axes.set_ylim(0, 1.15)
    axes.set_yticks([share / 5 for share in range(6)])
    percent(axes.yaxis)
    axes.legend(loc="upper center", ncols=4)
