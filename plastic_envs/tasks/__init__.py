"""The tasks, by name: one file and one row each."""

import inspect
from typing import Any

from plastic_envs.core.task import Task
from plastic_envs.core.task_checks import is_whole
from plastic_envs.external.task import PREFIX, ExternalTask, environment_named
from plastic_envs.utils.checks import choose, nearest, plain, shown
from plastic_envs.utils.errors import UnknownNameError, UnknownOptionError, WrongTypeError
from plastic_envs.utils.limits import check_episodes, largest, sizes_checked
from plastic_envs.utils.precision import in_float32
from plastic_envs.utils.registry import Registry, Row, construct, parse_spec
from plastic_envs.worlds import WORLDS

TASKS = Registry(
    "task",
    {
        "CueReward": Row(
            "plastic_envs.tasks.cue_reward:CueReward",
            "remember the rewards that came with noisy cues",
        ),
        "SequenceReproduction": Row(
            "plastic_envs.tasks.sequence_reproduction:SequenceReproduction",
            "give a sequence of numbers back after a delay",
        ),
        "FewShotRegression": Row(
            "plastic_envs.tasks.few_shot_regression:FewShotRegression",
            "learn a random function from a few noisy points",
        ),
        "FewShotImageClassification": Row(
            "plastic_envs.tasks.few_shot_images:FewShotImageClassification",
            "tell new classes of images apart after one look at each",
        ),
        "PatternCompletion": Row(
            "plastic_envs.tasks.pattern_completion:PatternCompletion",
            "complete one of some patterns of bits that were shown",
        ),
        "SmallPatternCompletion": Row(
            "plastic_envs.tasks.pattern_completion:PatternCompletion",
            "the same with 50 bits and 2 patterns",
            {"n_bits": 50, "n_patterns": 2, "n_rounds": 1, "n_show": 3, "n_blank": 1, "n_query": 3},
        ),
        "ImageCompletion": Row(
            "plastic_envs.tasks.image_completion:ImageCompletion",
            "complete one of some images that were shown",
        ),
        "OnlineClassification": Row(
            "plastic_envs.tasks.online_classification:OnlineClassification",
            "learn to classify from labelled examples seen one after the other",
        ),
        "GridMaze": Row(
            "plastic_envs.tasks.grid_maze:GridMaze",
            "find a hidden reward in a maze, and find it again from elsewhere",
        ),
        "TargetDiscovery": Row(
            "plastic_envs.tasks.target_discovery:TargetDiscovery",
            "find out by trial and error which cue is the target",
        ),
        "OneAgent": Row(
            "plastic_envs.tasks.one_agent:OneAgent",
            "live in a world of many agents, whose others follow a policy",
        ),
    },
)


@in_float32
def make_task(spec: str, **options: Any) -> Task:
    """Make a task by name.

    Args:
        spec: a name from `TASKS` or `WORLDS`, `module:Name` or `gym:id` for a Gymnasium environment, alone or with
            options: `"SequenceReproduction,seq_length=5"`.
        **options: keyword arguments of the task; they win over those in `spec`.

    Raises:
        UsageError: the name or an option is unknown, or a value is not allowed.
    """
    name, spec_options = parse_spec(spec)
    options = {key: plain(value) for key, value in options.items()}
    if name.startswith(PREFIX):
        return ExternalTask(name.removeprefix(PREFIX), **{**spec_options, **options})
    table = WORLDS if name in WORLDS else TASKS
    if name not in table and ":" not in name and not nearest(name, TASKS) and (meant := environment_named(name)):
        raise UnknownNameError(f"unknown task {shown(name)}: did you mean {meant!r}, an environment of Gymnasium?")
    row, make = table[name], table.load(name)
    options = {**row.options, **spec_options, **options}
    if not callable(make):
        raise WrongTypeError(f"task {name!r} is a {type(make).__name__}, not a class or function that makes a task")
    parameters = inspect.signature(make).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    unknown = [key for key in options if key not in parameters]
    if unknown and not takes_any:
        sentence = f"{name} has no option {shown(unknown[0])}: {choose(unknown[0], parameters)}"
        raise UnknownOptionError(sentence, unknown[0])
    what = f"{name}{largest(options)}"
    with sizes_checked(what):
        task = construct("task", name, make, options)
    if not isinstance(task, Task):
        raise WrongTypeError(f"{name} made a {type(task).__name__}, not a plastic_envs.Task")
    if is_whole(task):
        check_episodes(task, task.agents_per_world, what)
    return task
