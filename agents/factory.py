"""Agents by name: build one from its settings, save it, load it."""

import dataclasses
import inspect
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import safetensors.torch

from agents.agent import Agent
from agents.cells import CELLS, Cell
from agents.options import NetworkOptions
from agents.rules import RULES, Rule
from agents.self_modulated import SelfModulatedNetwork
from plastic_envs.checks import check_int
from plastic_envs.errors import UsageError
from plastic_envs.registry import Registry, check_trusted, construct, format_spec, parse_spec
from plastic_envs.task import Task

FORMAT = 1


def make(
    observation_size: int, output_size: int, *, rule: str = "hebbian", cell: str = "rnn", seed: int = 0, **options: Any
) -> Agent:
    """Build an agent.

    Args:
        observation_size: D, numbers in an observation.
        output_size: K, numbers in an output.
        rule: A name of `agents.RULES` or `module:Name`, with options as in "hebbian,rate=0.2"; what the rule does not
            take goes to the network.
        cell: A name of `agents.CELLS`.
        seed: Seeds the initial meta-parameters.
        **options: See `NetworkOptions`.

    Raises:
        UsageError: a name, an option or its value is not allowed.
    """
    check_int("observation_size", observation_size, low=1)
    check_int("output_size", output_size, low=1)
    check_int("seed", seed, low=0, high=2**63 - 1)
    rule_name, given = parse_spec(rule)
    row = RULES[rule_name]
    rule_class = _load_class(RULES, rule_name, Rule)
    taken = set(inspect.signature(rule_class).parameters) if rule_class.__init__ is not Rule.__init__ else set()
    of_rule = {key: value for key, value in given.items() if key in taken}
    of_network = {key: value for key, value in given.items() if key not in taken} | options
    known = [field.name for field in dataclasses.fields(NetworkOptions)]
    if unknown := set(of_network) - set(known):
        raise UsageError(f"unknown option {sorted(unknown)[0]!r} of an agent: choose from {', '.join(known)}")
    network = NetworkOptions(**of_network)
    network = dataclasses.replace(network, hidden=round(network.hidden * row.options.get("width", 1)))
    agent = SelfModulatedNetwork(
        observation_size,
        output_size,
        rule=construct("rule", rule_name, rule_class, of_rule),
        cell=construct("cell", cell, _load_class(CELLS, cell, Cell), {}),
        options=network,
        seed=seed,
    )
    agent.config = {
        "observation_size": observation_size,
        "output_size": output_size,
        "rule": format_spec(rule_name, of_rule),
        "cell": cell,
        "seed": seed,
        **of_network,
    }
    return agent


def _load_class(registry: Registry, name: str, base: type) -> Any:
    """The class that a name stands for.

    Raises:
        UsageError: it is not a subclass of `base`.
    """
    found = registry.load(name)
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise UsageError(f"{registry.kind} {name!r}: {found!r} is not a subclass of {base.__module__}.{base.__name__}")
    return found


def make_for(task: Task, **settings: Any) -> Agent:
    """Build an agent of the sizes that a task asks for; `settings` as in `make`."""
    return make(task.observation_size, task.output_size, **settings)


def save(agent: Agent, folder: str | Path) -> None:
    """Write `agent.safetensors` and `agent.json` into a folder, which is made if missing.

    Raises:
        UsageError: there is a file of the folder's name.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: an agent is saved into a folder")
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(
        {name: value.detach().contiguous() for name, value in agent.state_dict().items()}, folder / "agent.safetensors"
    )
    text = json.dumps({"format": FORMAT, "agent": agent.config}, indent=2, sort_keys=True)
    (folder / "agent.json").write_text(text + "\n")


def load(folder: str | Path, *, trust: Collection[str] = ()) -> Agent:
    """Read an agent back; nothing in the folder is run.

    Args:
        folder: Where `save` wrote it.
        trust: Names `module:Name` of your own rules and cells that the file may name; importing one runs its module.

    Raises:
        UsageError: a file is missing or damaged, or names a user's own code that is not trusted.
    """
    folder = Path(folder)
    try:
        settings = json.loads((folder / "agent.json").read_text())
        if settings["format"] != FORMAT:
            raise UsageError(f"{folder / 'agent.json'}: format {settings['format']!r}: this version reads {FORMAT}")
        config = dict(settings["agent"])
        for key in ("rule", "cell"):
            check_trusted(folder / "agent.json", config[key], trust)
        agent = make(**config)
    except FileNotFoundError:
        raise UsageError(f"{folder}: there is no agent here (agent.json is missing)") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{folder / 'agent.json'} is damaged: {type(error).__name__}: {error}") from None
    try:
        weights = safetensors.torch.load_file(folder / "agent.safetensors")
        agent.load_state_dict(weights)
    except Exception as error:  # safetensors and torch raise many kinds; each means that the file does not fit
        raise UsageError(
            f"{folder / 'agent.safetensors'} does not hold this agent's weights: {str(error).splitlines()[0]}"
        ) from None
    return agent
