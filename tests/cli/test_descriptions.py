"""`plastic-envs list NAME`: all about one name, also where a base class or the user's own code says it."""

import inspect
from typing import Literal

import pytest

from agents import NETWORKS, RULES, Rule
from agents.networks.options import NetworkOptions
from evolution.claims import CLAIMS
from evolution.cli import main
from evolution.cli.descriptions import REGISTRIES, TOLD, describe
from evolution.cli.documentation import Option, options, prose
from evolution.experiments.grid import Grid
from evolution.experiments.presets import PRESETS
from evolution.experiments.presets import describe as describe_preset
from evolution.runs.progress import counted
from evolution.runs.settings import describe_network
from plastic_envs.utils.errors import UsageError


class Base:
    """What both have.

    Sources: one paper,
    and another.

    Args:
        size: Of all, in
            metres.
        shade: Overridden below.
    """


class Derived(Base):
    """One of them.

    Args:
        shade: Of a
            colour.

    Raises:
        UsageError: never.
    """

    def __init__(
        self,
        first,
        /,
        size=None,
        shade: Literal["red", "blue"] | int | None = "red",
        sizes=(3, 2),
        on: bool = True,
        *rest,
        needed,
        **others,
    ):
        """Take any."""


class Needy(Rule):
    """Reads what there is nowhere together."""

    needs = frozenset({"code", "pre_error"})


def bare():
    pass


def test_options_are_described_by_the_nearest_class_that_does():
    assert options(Derived) == {
        "size": Option("null", (), "Of all, in metres."),
        "shade": Option("red", ("red", "blue", "a number", "null"), "Of a colour."),
        "sizes": Option("3-2", (), ""),
        "on": Option("true", (), ""),
        "needed": Option("(needed)", (), ""),
    }
    assert options(NetworkOptions)["rate"].text.startswith("Neutral learning rate")
    assert options(NetworkOptions)["clip"].text.startswith("Limit of each fast weight")
    assert options(3) == options(bare) == {}


def test_prose_has_the_nearest_source_and_no_arguments():
    source = "Sources: one paper,\nand another."
    assert prose(Derived) == f"One of them.\n\nRaises:\n    UsageError: never.\n\n{source}"
    assert prose(Base) == f"What both have.\n\n{source}"
    assert prose(bare) == ""


@pytest.mark.parametrize("name", NETWORKS)
def test_every_option_of_a_network_is_described(name):
    known = options(NETWORKS.load(name).Options)
    assert [option for option, told in known.items() if not told.text] == []
    text = describe(name)
    assert all(f"  {option} = {told.default}" in text for option, told in known.items())
    assert all(f"(one of {', '.join(told.choices)})" in text for told in known.values() if told.choices)


@pytest.mark.parametrize("name", RULES)
def test_rules_tell_their_own_options_source_and_networks(name):
    rule, text = RULES.load(name), describe(name)
    homes = [network for network in NETWORKS if rule.needs <= NETWORKS.load(network).offers]
    networks = next(line for line in text.splitlines() if line.startswith("Networks: "))
    assert networks.removeprefix("Networks: ").replace(" by default", "").replace(" or", "").split(", ") == homes
    assert "Source" in text or name.startswith("none")
    for network in map(NETWORKS.load, homes):
        told = network.rule_arguments(8, 3, network.Options()).keys()
        assert told <= TOLD["rule"] | {"seed"}
    assert not any(f"\n  {argument} = " in text for argument in TOLD["rule"] | {"seed"})
    given = set(inspect.signature(rule).parameters) - TOLD["rule"] - {"seed", "args", "kwargs"}
    assert all(options(rule)[argument].text and f"\n  {argument} = " in text for argument in given)


def test_what_a_row_fixes_is_the_default():
    assert "\n  terms = 1\n" in describe("pseudo-gradient")
    assert "\n  terms = all\n" in describe("pool")
    assert "\n  popsize = 64" in describe("pgpe")


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_print_their_criterion(name):
    text = describe(name)
    assert text == f"{name} (claim): {CLAIMS[name].summary}\n\n{inspect.getdoc(CLAIMS.load(name))}"


@pytest.mark.parametrize("name", PRESETS)
def test_presets_print_every_grid(name):
    _, *grids = describe(name).split("\n\n")
    for text, grid in zip(grids, PRESETS[name], strict=True):
        assert f"  rules = {' '.join(grid.rules)}\n" in text
        assert f"  budget = {grid.budget}\n" in text
        assert "null" not in text


def test_environments_of_gymnasium_print_sizes_and_both_kinds_of_options():
    text = describe("gym:Pendulum-v1")
    assert text.startswith("gym:Pendulum-v1 (task): observations of 3 numbers, 1 action, at most 200 steps")
    assert all(part in text for part in ("\n  reverse_actions = false\n", "\n  g = 10.0", "## Observation Space"))
    assert not any(part in text for part in ("env_id =", "render_mode ="))
    assert "observations of 4 numbers, one of 2 actions, at most 7 steps" in describe(
        "gym:CartPole-v1,max_episode_steps=7"
    )
    assert "\n  map_name = 4x4" in describe("gym:FrozenLake-v1")  # as registered, not as the class has it


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "tests.helpers.user_code:RunningMean",
            ["(task): from the user's code", "Answer with the mean", "n_steps = 10"],
        ),
        ("examples.custom_rule:Oja", ["(rule)", "Oja 1982", "Networks: self-modulated by default, or plastic-rnn"]),
        ("examples.custom_searcher:HillClimber", ["(searcher)", "sigma = 0.02"]),
        ("tests.cli.test_descriptions:Needy", ["Networks: none of the package, as none has all of code, pre_error"]),
        ("tests.helpers.user_code:stripes", ["(function)", "Images (N, H, W)"]),
    ],
)
def test_the_users_own_code_is_described(name, told):
    assert [part for part in told if part not in describe(name)] == []
    assert "\n  task = " not in describe(name)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Nobody", "there is nothing called 'Nobody'"),
        ("gym:Nobody-v0", "Nobody"),
        ("nowhere:Rule", "no module 'nowhere'"),
        ("tests.helpers.user_code:Nobody", "has no 'Nobody'"),
    ],
)
def test_what_is_not_there_is_one_sentence(name, sentence, capsys):
    with pytest.raises(UsageError, match=sentence):
        describe(name)
    assert main(["list", name]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_every_name_is_described_but_once():
    for registry in REGISTRIES.values():
        for name, row in registry.items():
            assert describe(name).count(f"{name} ({registry.kind}): {row.summary}") == 1


def test_one_of_a_thing_is_singular():
    assert [counted(number, "run") for number in (0, 1, 2000)] == ["0 runs", "1 run", "2,000 runs"]
    assert describe_network(None, "rnn", 1) == "rnn with 1 unit"
    assert describe_preset([Grid(("CueReward",), ("none",), ("pgpe",))]).startswith("1 run on CueReward;")
