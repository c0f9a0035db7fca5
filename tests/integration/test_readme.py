"""What README shows is there: its programs are the example files, its commands parse, its links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest

from evolution import cli
from tests.helpers import in_process

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"(?:<!-- (\S+) -->\n)?```python\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^plastic-envs .*", README, re.MULTILINE)


@pytest.mark.parametrize(("file", "code"), [block for block in PYTHON if block[0]], ids=lambda text: text[:40].strip())
def test_a_program_is_an_example_file(file, code):
    assert code == (ROOT / file).read_text(), f"copy {file} into README.md"


@pytest.mark.parametrize("code", [code for file, code in PYTHON if not file])
def test_any_other_program_runs(code):
    exec(compile(code, "README.md", "exec"), {})


def test_its_commands_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    smaller = {"--budget": "64", "--seeds": "1", "--episodes": "64", "--retrainings": "2"}
    small = {"--hidden": "4", "--eval-episodes": "16", "--evals": "1"}
    assert {line.split()[1] for line in COMMANDS} == set(cli.COMMANDS)
    for line in COMMANDS:
        words = shlex.split(line, comments=True)
        added = small if words[1] in ("train", "compare") else {}
        added = added | {option: smaller[option] for option in ("--budget", "--seeds") if "--preset" in words}
        for option, value in (smaller | added).items():
            if option in words:
                words[words.index(option) + 1] = value
            elif option in added:
                words += [option, value]
        with in_process.no_workers():
            assert cli.main(words[1:]) == 0, f"{line}: {capsys.readouterr().err}"
    assert Path("runs/both/report.html").exists()


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|^)make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"README names make {target}"


def test_links_lead_to_files():
    shown = re.sub(r"<!--.*?-->", "", README, flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)]+)\)", shown):
        assert link.startswith("https://") or (ROOT / link).exists(), f"README.md links to {link}"


def test_sections_come_in_the_newcomers_order():
    assert re.findall(r"^## (.*)$", README, re.MULTILINE) == [
        "Two commands",
        "Ten lines of Python",
        "The result",
        "Add a task",
        "Add a rule",
        "Add a network",
        "Add a searcher",
        "Add a claim",
        "Many agents",
        "The commands",
        "Limits",
        "Sources",
    ]
