"""Claims: the frame that runs them and writes their folders, and known answers of those about rules and genes."""

import csv
import json

import pytest
import torch

import evolution
from evolution.claims import CLAIMS, ClaimSettings, Finding
from evolution.claims.cristian.allele_flow import EPSILON, LANDSCAPES, N_GENES, expected_loss, next_generation
from evolution.claims.cristian.near_threshold import measure
from evolution.claims.cristian.one_neuron import Problems, draw_problems, table, train_until_separated, update
from evolution.claims.cristian.separation import bound, counterexample, never_separates, run_cell
from evolution.claims.cristian.special_cases import draw_cases, run_both
from evolution.cli import main
from plastic_envs.utils.errors import UsageError

TRIVIAL = "tests.claims.test_claims:trivial"


def trivial(settings):
    """A claim of one's own."""
    return Finding(
        claim="One is one.",
        source="nowhere",
        holds=True,
        verdict=f"it is, with seed {settings.seed}",
        figures=[{"what": "one", "value": 1.0, "fits": True}],
        draw=lambda canvas: canvas.subplots().plot([0, 1]),
    )


def nothing(settings):
    """Gives no finding."""


@pytest.mark.parametrize("number", CLAIMS)
def test_every_claim_has_a_function_that_says_when_it_holds(number):
    assert CLAIMS.load(number).__doc__
    assert CLAIMS[number].summary


def test_a_claim_leaves_its_files(tmp_path, capsys):
    folder = tmp_path / "claim"
    assert main(["claim", TRIVIAL, "--seed", "3", "--out", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "One is one." in printed
    assert "Holds: it is, with seed 3\n" in printed
    assert sorted(path.name for path in folder.iterdir()) == [
        "claim.json", "figures.csv", "picture.png", "picture.svg",
    ]  # fmt: skip
    told = json.loads((folder / "claim.json").read_text())
    assert (told["number"], told["holds"], told["settings"]) == (TRIVIAL, True, {"full": False, "seed": 3})
    with (folder / "figures.csv").open() as file:
        assert list(csv.DictReader(file)) == [{"what": "one", "value": "1.0", "fits": "True"}]
    assert (folder / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_an_existing_folder_is_kept_unless_told_otherwise(tmp_path):
    evolution.claim(TRIVIAL, out=tmp_path)
    with pytest.raises(UsageError, match="already holds a claim"):
        evolution.claim(TRIVIAL, seed=1, out=tmp_path)
    assert json.loads((tmp_path / "claim.json").read_text())["settings"]["seed"] == 0
    evolution.claim(TRIVIAL, seed=1, out=tmp_path, overwrite=True)
    assert json.loads((tmp_path / "claim.json").read_text())["settings"]["seed"] == 1


def test_the_folder_is_by_default_below_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evolution.claim("4")
    assert json.loads((tmp_path / "runs/claim-4/claim.json").read_text())["holds"] is True


@pytest.mark.parametrize("words", [[], ["list"]])
def test_claims_are_listed(words, capsys):
    assert main(["claim", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(CLAIMS)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("99", "unknown claim '99': choose from"),
        ("os:system", "is no function from evolution.ClaimSettings to evolution.Finding"),
        ("os.path:basename", "is no function from evolution.ClaimSettings to evolution.Finding"),
        ("evolution.reports.tables:format_number", "is no function from evolution.ClaimSettings to evolution.Finding"),
        ("plastic_envs:Task", "is no function from evolution.ClaimSettings to evolution.Finding"),
        ("nowhere:claim", "no module 'nowhere'"),
        ("tests.claims.test_claims:nothing", "gave a NoneType, not an evolution.Finding"),
        (f"{TRIVIAL} --seed -1", "seed must be an integer of at least 0, not -1"),
        (f"{TRIVIAL} --out FULL", "is not empty and holds no claim"),
        (f"{TRIVIAL} --out FULL --overwrite", "is not empty and holds no claim"),
        (f"{TRIVIAL} --out FULL/note", "is a file, not a folder"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(words, sentence, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").touch()
    given = words.replace("FULL", str(tmp_path / "full")).split()
    out = [] if "--out" in given else ["--out", str(tmp_path / "out")]
    assert main(["claim", *given, *out]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert sentence in printed.err
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["note"]


def test_figures_are_one_table():
    with pytest.raises(UsageError, match="all with the same columns"):
        Finding("", "", None, "", [{"a": 1}, {"b": 1}], lambda canvas: None)


def row(*values):
    return torch.tensor([values], dtype=torch.float64)


def test_one_update_by_hand():
    rule = torch.tensor([[-1.0, 1.0], [3.0, -3.0]], dtype=torch.float64)
    weights, inputs, yes = row(1, 2, 4), row(1, -1, 1), torch.tensor([True])
    assert update(weights, inputs, row(1)[0], rule, yes).tolist() == [[4, 1, 7]]
    assert update(weights, inputs, row(-1)[0], rule, yes).tolist() == [[-2, 3, 1]]
    assert update(weights, inputs, row(1)[0], rule, ~yes).tolist() == [[1, 2, 4]]
    halving = torch.tensor([[0.0, 0.0], [1.0, -0.5]], dtype=torch.float64)
    assert update(weights, inputs, row(1)[0], halving, yes, multiplicative=True).tolist() == [[2, 2, 8]]
    assert update(weights, inputs, row(-1)[0], halving, yes, multiplicative=True).tolist() == [[0.5, 2, 2]]


def test_examples_are_shown_in_turn():
    # x₁ = (+,+), label +; x₂ = (+,−), label −: w = 0 → (1,1) by x₁ → (0,2) by x₂, which separates
    problems = Problems(torch.tensor([[[1.0, 1], [1, -1]]]).double(), row(1, -1), row(0, 1))
    learnt = train_until_separated(problems, table(1), torch.tensor([10]))
    assert learnt.updates.tolist() == [2]
    assert learnt.separated.tolist() == [True]
    stopped = train_until_separated(problems, table(1), torch.tensor([1]))
    assert (stopped.updates.tolist(), stopped.separated.tolist()) == ([1], [False])


def test_random_problems_are_what_they_say(generator):
    for one_label in (False, True):
        problems = draw_problems(20, 30, 8, 0.4, one_label, generator)
        torch.testing.assert_close(problems.teacher.sum(-1), torch.zeros(20).double(), atol=1e-12, rtol=0)
        torch.testing.assert_close(problems.teacher.norm(dim=-1), torch.ones(20).double())
        assert (problems.inputs.abs() == 1).all()
        assert (problems.agreement >= 0.4 - 1e-12).all()
        assert bool((problems.labels == 1).all()) is one_label


def test_the_perceptron_converges_within_its_bound(generator):
    problems = draw_problems(50, 40, 10, 0.2, False, generator)
    allowed = 10 / problems.agreement.amin(-1).square()  # R²/γ²
    learnt = train_until_separated(problems, table(1), allowed.floor().long())
    assert learnt.separated.all()
    assert (learnt.updates > 0).all()


def test_counterexample_to_theorem_3():
    problems = counterexample()
    one = Problems(*(part[0] for part in problems))
    assert float(problems.teacher.sum()) == pytest.approx(0)
    assert (problems.agreement > 0).all()
    assert bound(problems, 4).item() == pytest.approx(2 * 16 * 4 * 11)
    assert (run_cell(problems, 2, 10**6).within, run_cell(problems, 4, 10**6).never) == (1, 1)
    assert not train_until_separated(problems, table(4), torch.tensor([5000])).separated
    assert never_separates(one, table(4))
    assert not never_separates(one, table(2))
    # The proof: 5, 4 and 4 times the three values w·x never grow in sum, whatever the update.
    updates = table(4)[(one.inputs > 0).long(), 0]
    gains = one.inputs @ updates.T
    assert gains.tolist() == [[7, -8, -8], [-5, 10, 0], [-5, 0, 10]]
    assert (torch.tensor([5.0, 4.0, 4.0]).double() @ gains <= 0).all()


def test_mistakes_near_the_threshold_by_hand():
    # x = (+,−), label +, three times, γ = 1.5: w = 0 is a mistake; w·x = 2 is right and not near; c = γ²/(R² + 2γ)
    problems = Problems(row(1, -1).expand(1, 3, 2), row(1, 1, 1), row(1, -1) / 2**0.5)
    expected = 1.5**2 / (2 + torch.tensor([1.0, 2, 3]) * (1.5 - 2**0.5) + 3)
    torch.testing.assert_close(measure(problems, 1, 1.5)[0], expected.double())


def test_classical_algorithms_equal_the_output_rule_and_no_other(generator):
    for name, case in draw_cases(20, 30, 8, generator).items():
        run = run_both(case, passes=2)
        assert (run.difference, run.disagreements) == (0, 0), name
        assert run.mistakes > 20, name
        other = run_both(case._replace(rule=case.rule * 2), passes=2)
        assert other.difference > 0, name


def test_winnow_learns_a_disjunction(generator):
    case = draw_cases(20, 60, 10, generator)["Winnow, inputs 0 and 1"]
    assert run_both(case, passes=10).learnt == 1


@pytest.mark.parametrize("name", LANDSCAPES)
def test_expected_loss_and_its_slope(name, generator):
    landscape = LANDSCAPES[name]
    x = torch.tensor([0.1, 0.5, 0.8], dtype=torch.float64)
    loss, slope = expected_loss(x, landscape)
    step = 1e-6
    above, below = (expected_loss(x + sign * step, landscape)[0] for sign in (1, -1))
    torch.testing.assert_close(slope, (above - below) / (2 * step * N_GENES), rtol=1e-6, atol=1e-8)
    drawn = (torch.rand(20_000, N_GENES, 3, generator=generator, dtype=torch.float64) < x).double() * 2 - 1
    torch.testing.assert_close(landscape.loss(EPSILON * drawn.sum(1)).mean(0), loss, rtol=0.03, atol=0.01)
    extremes = torch.tensor([-N_GENES * EPSILON, N_GENES * EPSILON], dtype=torch.float64)
    assert (landscape.theta * landscape.loss(extremes) < 1).all()


def test_populations_select_as_the_flow_says(generator):
    landscape = LANDSCAPES["(Y − 1.6)²"]
    x = torch.full((4, N_GENES), 0.3, dtype=torch.float64)
    loss, slope = expected_loss(x[0, 0], landscape)
    change = (next_generation(x, landscape, 20_000, generator) - x).mean()
    flow = -landscape.theta * 0.3 * 0.7 * slope / (1 - landscape.theta * loss)
    torch.testing.assert_close(change, flow, rtol=0.05, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "holds"), [("3", False), ("3b", None), ("4", True), ("9", True)])
def test_what_comes_of_the_claims(number, holds):
    first, second = (CLAIMS.load(number)(ClaimSettings(seed=1)) for _ in range(2))
    assert first.holds is holds
    assert first.text() == second.text()
