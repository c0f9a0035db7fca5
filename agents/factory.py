"""Agents by name: build one from its settings, for a task if need be."""

import dataclasses
import inspect
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from agents.agent import Agent
from agents.construct import construct_module
from agents.networks import NETWORKS, networks_with
from agents.networks.front_ends import checked_image_shape, perceived_size
from agents.normalisation import RunningNormalisation
from agents.rules import RULES, Rule
from agents.rules.base import check_needs
from plastic_envs.core.task import Task
from plastic_envs.core.task_checks import check_task
from plastic_envs.utils.checks import check_bool, check_int, check_memory, choose, in_gb, plain, shown
from plastic_envs.utils.errors import UnknownOptionError, UsageError
from plastic_envs.utils.limits import largest, nowhere, sizes_checked
from plastic_envs.utils.precision import in_float32
from plastic_envs.utils.registry import format_spec, parse_spec, tell_renamed

RENAMED_OPTIONS: Mapping[str, Mapping[str, str]] = {"kwta": {"cap": "k"}}
"""Options of networks that had another name in the release before, by network: from the old name to the new one."""


@in_float32
def make(
    observation_size: int,
    output_size: int,
    *,
    rule: str = "hebbian",
    network: str | None = None,
    features: int | None = None,
    parameters: int | None = None,
    image_shape: Sequence[int] | None = None,
    reward_at: int | None = None,
    normalise_observations: bool = False,
    seed: int = 0,
    **options: Any,
) -> Agent:
    """Build an agent.

    Args:
        observation_size: D, numbers in an observation.
        output_size: K, numbers in an output.
        rule: A name of `agents.RULES` or `module:Name`, with options as in "hebbian,rate=0.2"; what the rule does not
            take goes to the network.
        network: A name of `agents.NETWORKS` or `module:Name`, with options; None for the first of the table that has
            the signals the rule needs.
        features: For networks that learn from labels: how many numbers at the start of an observation are to be
            classified; the label, K numbers, follows them. By default all numbers that are left beside the label.
        parameters: Take as many hidden units as make about so many parameters, for a comparison of equal size.
        image_shape: For networks with a front end: (H, W) or (C, H, W) of the image that an observation begins with.
        reward_at: For rules that read the reward: which number of an observation, counted from 0, is the reward of the
            step before.
        normalise_observations: Whether observations are shifted and scaled by what searchers have seen of them; not for
            networks that learn from labels.
        seed: Seeds the initial meta-parameters.
        **options: Further options of the network: see its `Options`.

    Raises:
        UsageError: a name, an option or its value is not allowed, or the network lacks what the rule needs.
    """
    observation_size = check_int("observation_size", observation_size, low=1)
    output_size = check_int("output_size", output_size, low=1)
    seed = check_int("seed", seed, low=0, high=2**63 - 1)
    options = {key: plain(value) for key, value in options.items()}
    network = None if network is None else current_network(network)
    rule_name, given = parse_spec(rule)
    if "parameters" in given:  # of this rule alone: it takes the place of what all rules of a comparison have
        parameters = given.pop("parameters")
        options.pop("hidden", None)
        if "hidden" in given:
            raise UsageError(f"parameters={parameters} chooses the hidden units: leave out hidden")
    if parameters is not None:
        sizes = {
            "observation_size": observation_size,
            "output_size": output_size,
            "features": features,
            "seed": seed,
            "image_shape": image_shape,
            "reward_at": reward_at,
        }
        settings = sizes | {"rule": format_spec(rule_name, given), "network": network, **options}
        check_int("parameters", parameters, low=1)
        memory = 8e-9 * parameters  # with a gradient each
        check_memory(f"parameters={parameters} take {in_gb(memory)}", memory, "take fewer")
        options["hidden"] = _units(parameters, settings)
    rule_class = _rule_class(rule_name)
    network_name, network_class, network_options = _network(network, rule_class)
    taken = set(inspect.signature(rule_class).parameters) if rule_class.__init__ is not Rule.__init__ else set()
    of_rule = {key: value for key, value in given.items() if key in taken}
    beside = _current_options(network_name, {key: value for key, value in given.items() if key not in taken} | options)
    if twice := sorted(key for key in network_options.keys() & beside if network_options[key] != beside[key]):
        one, other = network_options[twice[0]], beside[twice[0]]
        raise UsageError(f"{twice[0]} is given twice: {one!r} in network {network!r}, and {other!r}")
    of_network = network_options | beside
    known = [field.name for field in dataclasses.fields(network_class.Options)]
    if unknown := set(of_network) - set(known):
        names, first = [*sorted(taken - {"seed"}), *known], min(unknown)
        raise UnknownOptionError(f"unknown option {shown(first)} of an agent: {choose(first, names)}", first)
    row = dict(RULES[rule_name].options)
    kinds = {field.name: str(field.type) for field in dataclasses.fields(network_class.Options)}
    chosen = network_class.Options(**{name: _real(value, kinds[name]) for name, value in of_network.items()})
    if (width := row.pop("width", None)) is not None:
        if not isinstance(hidden := getattr(chosen, "hidden", None), int):
            raise UsageError(
                f"rule {rule_name!r} widens one hidden layer: hidden={hidden!r} of {network_class.__name__} is not one "
                "number"
            )
        chosen = dataclasses.replace(chosen, hidden=round(hidden * width))
    made: dict[str, Any] = {}
    reward_at = _reward_at(rule_name, rule_class, reward_at, observation_size)
    if network_class.learns_from_labels:
        made["features"] = _features(features, observation_size, output_size)
    if check_bool("normalise_observations", normalise_observations) and network_class.learns_from_labels:
        raise UsageError(f"normalise_observations=true: {network_class.__name__} learns from labels as they are")
    sizes = {"observation_size": observation_size, "output_size": output_size, **of_network, **of_rule}
    with sizes_checked(f"an agent{largest(sizes)}"):
        seen = made.get("features", observation_size)
        if (front_end := getattr(chosen, "front_end", None)) is not None:
            made["image_shape"] = checked_image_shape(image_shape, observation_size)
            seen = perceived_size(observation_size, front_end, made["image_shape"])
        told = network_class.rule_arguments(seen, output_size, chosen) | {"seed": seed}
        told = {key: value for key, value in told.items() if key in taken}
        if clash := sorted((told.keys() & of_rule.keys()) - {"seed"}):
            raise UsageError(f"rule {rule_name!r} is told its {clash[0]} by the network: leave it out")
        made["rule"] = construct_module("rule", rule_name, rule_class, told | row | of_rule)
        agent: Agent = network_class(observation_size, output_size, options=chosen, seed=seed, **made)
        agent.reward_at = reward_at
        if normalise_observations:
            agent.normaliser = RunningNormalisation(observation_size)
    agent.config = {
        "observation_size": observation_size,
        "output_size": output_size,
        "rule": format_spec(rule_name, of_rule),
        "seed": seed,
        **({} if network is None else {"network": network_name}),
        **({"features": made["features"]} if "features" in made else {}),
        **({"image_shape": list(made["image_shape"])} if "image_shape" in made else {}),
        **({} if reward_at is None else {"reward_at": reward_at}),
        **({"normalise_observations": True} if normalise_observations else {}),
        **of_network,
    }
    return agent.eval()


def _real(value: Any, kind: str) -> Any:
    """A whole number where a real one is wanted as such: tensors of whole numbers have no gradient, nor huge ones."""
    fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return float(value) if fits and "float" in kind else value


def _units(parameters: int, settings: dict[str, Any]) -> int:
    """The number of hidden units with which an agent has about so many parameters.

    Raises:
        UsageError: the settings fix the units, or the fewest that are possible make too many parameters.
    """
    if "hidden" in settings or "hidden" in parse_spec(settings["network"] or "")[1]:
        raise UsageError(f"parameters={parameters} chooses the hidden units: leave out hidden")

    def surplus(hidden: int) -> float:
        try:
            return _count(settings | {"hidden": hidden}) - parameters
        except UsageError:  # too few units for the network; any other error comes up again at the end
            return -math.inf

    low, high = 0, 1
    while surplus(high) < 0 and high <= parameters:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if surplus(middle) <= 0 else (low, middle)
    least = surplus(low) == -math.inf if low else True
    if least and 0 < (more := surplus(high)) < math.inf:
        plural = "s make" if high > 1 else " makes"
        raise UsageError(f"parameters={parameters} is too few: {high} hidden unit{plural} {parameters + more:.0f}")
    best = min(low, high, key=lambda hidden: abs(surplus(hidden)))
    make(**settings, hidden=best)
    return best


def _count(settings: dict[str, Any]) -> int:
    """How many numbers an agent's parameters are; it is not made, unless it cannot be counted otherwise."""
    try:
        with nowhere():
            agent = make(**settings)
    except UsageError:
        raise
    except Exception:  # a user's network may look at the numbers it draws, and there are none
        agent = make(**settings)
    return sum(value.numel() for value in agent.parameters())


def current_network(spec: str) -> str:
    """A network's spec in the words of today; of words of the release before the log tells once.

    Raises:
        UsageError: an option is given by its old name and by its new one.
    """
    name, options = parse_spec(spec)
    now = NETWORKS.current(name)
    renamed = _current_options(now, options)
    return spec if (now, renamed) == (name, options) else format_spec(now, renamed)


def _current_options(network: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """A network's options by the names of today."""
    renamed = RENAMED_OPTIONS.get(network, {})
    for old in renamed.keys() & options.keys():
        if renamed[old] in options:
            raise UsageError(f"{old} is called {renamed[old]} now, and both are given: leave out {old}")
        tell_renamed(f"option of {network}", old, renamed[old])
    return {renamed.get(key, key): value for key, value in options.items()}


def _network(spec: str | None, rule: type[Rule]) -> tuple[str, Any, dict[str, Any]]:
    """A network's name, its class and the options in its spec; without a spec the first that a rule can run on."""
    if spec is not None:
        name, options = parse_spec(spec)
        return name, NETWORKS.load_class(name, Agent), options
    first = next(networks_with(rule.needs), None)
    if first is None:
        raise UsageError(f"rule {rule.__name__} needs {', '.join(sorted(rule.needs))}: no network has all of them")
    return first, NETWORKS.load(first), {}


def _features(features: int | None, observation_size: int, output_size: int) -> int:
    features = observation_size - output_size if features is None else plain(features)
    if not 1 <= features <= observation_size - output_size:
        raise UsageError(
            f"features={features} and a label of {output_size} numbers do not fit into {observation_size} observations"
        )
    return features


def _reward_at(name: str, rule: type[Rule], given: int | None, observation_size: int) -> int | None:
    """Where an observation has the reward; None for rules that do not read it."""
    if "reward" not in rule.needs:
        if given is not None:
            raise UsageError(f"reward_at={given}: rule {name!r} does not read the reward; leave it out")
        return None
    if given is None:
        raise UsageError(f"rule {name!r} reads the reward: say reward_at, its place in an observation (make_for does)")
    return check_int("reward_at", given, low=0, high=observation_size - 1)


def make_for(task: Task, **settings: Any) -> Agent:
    """Build an agent of the sizes, and with the normalisation, that a task asks for; `settings` as in `make`.

    Raises:
        UsageError: as in `make`; or the network cannot live in the task (see `incompatibility`).
    """
    chosen = {key: settings[key] for key in ("rule", "network") if key in settings}
    if problem := incompatibility(task, **chosen):
        raise UsageError(problem)
    if _network_class(**chosen).learns_from_labels:
        settings = {"features": task.slices["label"].start, **settings}
    if (image := task.slices.get("image")) is not None and image.start == 0:
        settings = {"image_shape": image.shape, **settings}
    if "reward" in _rule_class(chosen.get("rule", "hebbian")).needs:
        settings = {"reward_at": task.slices["reward"].start, **settings}
    settings = {"normalise_observations": task.normalise_observations, **settings}
    return make(task.observation_size, task.output_size, **settings)


def incompatibility(task: Task, rule: str = "hebbian", network: str | None = None) -> str:
    """Why the network that these settings choose cannot live in a task; empty if it can."""
    check_task(task)
    reward = task.slices.get("reward")
    if "reward" in _rule_class(rule).needs and (reward is None or reward.stop - reward.start != 1):
        return (
            f"rule {rule!r} reads the reward: {type(task).__name__} shows none, which is a slice named 'reward' of one "
            "number"
        )
    found = _network_class(rule, network)
    if not found.learns_from_labels:
        return ""
    label = task.slices.get("label")
    if label is None or label.start == 0 or label.stop - label.start != task.output_size:
        return (
            f"{found.__name__} (rule {rule!r}) learns from labels: {type(task).__name__} shows none, which is a slice "
            f"named 'label' of {task.output_size} numbers after the features, one-hot or all zero"
        )
    return ""


def transfer_rule(agent: Agent, task: Task, network: str | None = None) -> Agent:
    """A new network for another task that learns by an agent's rule, and has nothing else of it.

    Only where both normalise observations, of one size, does it see them as the agent did.

    Args:
        agent: Whose rule, with its learned coefficients, is taken over.
        task: What the new network is to live in; sizes come from it.
        network: Options of the new network that differ from the agent's, as in "kwta,hidden=1000"; the name is its own.

    Raises:
        UsageError: as in `make_for`; or the rule's coefficients do not fit the new network.
    """
    settings = {key: value for key, value in agent.config.items() if key not in _SIZES}
    if network is not None:
        name, options = parse_spec(current_network(network))
        settings |= {"network": name, **options}
    new = make_for(task, **settings)
    given, wanted = agent.rule.state_dict(), new.rule.state_dict()
    for key in [*wanted, *given]:
        has, needs = (str(tuple(values[key].shape)) if key in values else "none" for values in (given, wanted))
        if has != needs:
            raise UsageError(f"the rule's {key} has the shape {has}; this network needs {needs}")
    new.rule.load_state_dict(given)
    if agent.normaliser and new.normaliser and agent.observation_size == new.observation_size:
        new.normaliser.load_state_dict(agent.normaliser.state_dict())
    return new


_SIZES = ("observation_size", "output_size", "features", "image_shape", "reward_at", "normalise_observations")


def _network_class(rule: str = "hebbian", network: str | None = None) -> type[Agent]:
    found: type[Agent] = _network(network, _rule_class(rule))[1]
    return found


def _rule_class(rule: str) -> type[Rule]:
    found: type[Rule] = RULES.load_class(parse_spec(rule)[0], Rule)
    check_needs(found)
    return found
