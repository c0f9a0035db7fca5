"""Agents saved to files, and files that are no agents."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import agents
from plastic_envs.utils.errors import UsageError
from tests.agents.test_agents import RULES_HERE


@pytest.mark.parametrize("rule", RULES_HERE)
@pytest.mark.parametrize("cell", list(agents.CELLS))
def test_save_and_load(rule: str, cell: str, tmp_path: Path) -> None:
    agent = agents.make(5, 2, rule=f"{rule},rate=0.2", cell=cell, hidden=6, seed=1, layer_norm=True)
    agents.save(agent, tmp_path)
    other = agents.load(tmp_path)
    observation = torch.randn(3, 5)
    assert torch.equal(agent(observation)[0], other(observation)[0])
    assert other.config == agent.config


def test_an_agent_is_not_saved_onto_a_file(tmp_path: Path) -> None:
    (tmp_path / "agent").write_text("notes")
    with pytest.raises(UsageError, match="is a file"):
        agents.save(agents.make(5, 2, hidden=4), tmp_path / "agent")
    assert (tmp_path / "agent").read_text() == "notes"


def test_seed_makes_the_agent() -> None:
    first, same, other = (agents.make(5, 2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.encode.weight, same.encode.weight)
    assert not torch.equal(first.encode.weight, other.encode.weight)


def test_a_rule_named_by_a_file_is_not_imported_unless_trusted(tmp_path: Path) -> None:
    name = "tests.agents.test_agents:Oja"
    agents.save(agents.make(5, 2, rule=f"{name},strength=0.25", hidden=4), tmp_path)
    with pytest.raises(UsageError, match=r"tests\.agents\.test_agents:Oja.*trust"):
        agents.load(tmp_path)
    loaded = agents.load(tmp_path, trust=[name])
    assert loaded.rule.strength.item() == 0.25


@pytest.mark.parametrize("key", ["rule", "cell"])
def test_no_code_that_a_file_names_is_called(key: str, tmp_path: Path) -> None:
    agents.save(agents.make(5, 2, hidden=4), tmp_path)
    settings = json.loads((tmp_path / "agent.json").read_text())
    settings["agent"][key] = "tests.no_module:never_imported"
    (tmp_path / "agent.json").write_text(json.dumps(settings))
    with pytest.raises(UsageError, match=r"names 'tests\.no_module:never_imported'.*--trust"):
        agents.load(tmp_path)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"observation_size": "5"}, "observation_size must be an integer of at least 1, not '5'"),
        ({"observation_size": 10**12}, "more memory than this machine has"),
        ({"hidden": float("nan")}, "hidden must be an integer of at least 1, not nan"),
        ({"rule": ["hebbian"]}, "not \\['hebbian'\\]"),
        ({"cell": 3}, "not 3"),
        ({"mood": 3}, "unknown option 'mood'"),
    ],
)
def test_agent_files_with_other_settings_are_refused(settings: Any, says: str, tmp_path: Path) -> None:
    agents.save(agents.make(5, 2, hidden=4), tmp_path)
    saved = json.loads((tmp_path / "agent.json").read_text())
    (tmp_path / "agent.json").write_text(json.dumps({"format": 1, "agent": saved["agent"] | settings}))
    with pytest.raises(UsageError, match=says):
        agents.load(tmp_path)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "agent.json").unlink(), "agent.json is missing"),
        (lambda folder: (folder / "agent.json").write_text("{"), "damaged"),
        (lambda folder: (folder / "agent.json").write_text("[" * 100_000), "damaged: it is nested too deeply"),
        (
            lambda folder: (folder / "agent.json").write_text(
                json.dumps({"format": 1, "agent": {"rule": "none", "cell": "rnn"}})
            ),
            "damaged: TypeError: .*observation_size",
        ),
        (lambda folder: (folder / "agent.json").write_text(json.dumps({"format": 99, "agent": {}})), "format 99"),
        (lambda folder: (folder / "agent.safetensors").write_bytes(b"no"), "does not hold"),
        (lambda folder: (folder / "agent.safetensors").unlink(), "cannot read .*: No such file"),
        (lambda folder: agents.save(agents.make(5, 3), folder / "x"), None),
    ],
)
def test_damaged_agents_are_refused_in_one_sentence(damage: Any, says: str | None, tmp_path: Path) -> None:
    agents.save(agents.make(5, 2, hidden=4), tmp_path)
    damage(tmp_path)
    if says is None:  # weights of another agent
        (tmp_path / "x" / "agent.safetensors").replace(tmp_path / "agent.safetensors")
        says = "does not hold"
    with pytest.raises(UsageError, match=says) as caught:
        agents.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_bit_of_the_weights_that_has_changed_is_told(tmp_path: Path) -> None:
    agents.save(agents.make(5, 2, hidden=4), tmp_path)
    path = tmp_path / "agent.safetensors"
    data = path.read_bytes()
    first = 8 + int.from_bytes(data[:8], "little")  # after the head
    for place in torch.linspace(first, len(data) - 1, 50).long().tolist():
        for bit in (1, 2 << 3):
            path.write_bytes(data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])
            with pytest.raises(UsageError, match=r"weights: ('.*no finite number|they were changed since)"):
                agents.load(tmp_path)


def test_weights_of_earlier_versions_without_a_hash_load(tmp_path: Path) -> None:
    agent = agents.make(5, 2, hidden=4)
    agents.save(agent, tmp_path)
    save_file({name: value + 1 for name, value in agent.state_dict().items()}, tmp_path / "agent.safetensors")
    loaded = agents.load(tmp_path).state_dict()
    assert all(torch.equal(value + 1, loaded[name]) for name, value in agent.state_dict().items())
