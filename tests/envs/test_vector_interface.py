"""What clients of Gymnasium's own vector environments ask of them by name, ours answer too."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from plastic_envs import TaskEnv, TaskVectorEnv, UsageError

NOT_OURS = {
    "envs": "there are no single environments: all copies are one batch of tensors",
    "env_fns": "as `envs`",
    "copy": "observations are always the caller's own",
    "observation_mode": "all copies have the same observation space",
}


def public(envs):
    return {name for name in dir(envs) if not name.startswith("_")}


def test_the_names_of_gymnasiums_own_are_ours_too():
    theirs = SyncVectorEnv([lambda: TaskEnv("CueReward")] * 2)
    assert public(theirs) - public(TaskVectorEnv("CueReward", num_envs=2)) == NOT_OURS.keys()


@pytest.mark.parametrize("mode", AutoresetMode)
def test_attributes_of_copies_are_those_of_single_environments(mode):
    ours = gymnasium.make_vec("plastic_envs/GridMaze-v0", num_envs=3, autoreset_mode=mode, size=5)
    theirs = SyncVectorEnv([lambda: TaskEnv("GridMaze", size=5)] * 3, autoreset_mode=mode)
    assert ours.autoreset_mode is theirs.autoreset_mode is ours.metadata["autoreset_mode"] is mode
    for name in ("observation_space", "action_space", "render_mode"):
        assert ours.get_attr(name) == ours.call(name) == theirs.get_attr(name)
    assert [task.horizon for task in ours.get_attr("task")] == [task.horizon for task in theirs.get_attr("task")]
    for values in ([1, 2, 3], "the same"):
        for envs in (ours, theirs):
            envs.set_attr("note", values)
        assert ours.get_attr("note") == ours.call("note") == theirs.get_attr("note")
    assert [envs.num_envs for envs in ours.get_attr("unwrapped")] == [3, 3, 3]


def test_a_picture_of_each_copy():
    envs = TaskVectorEnv("GridMaze", num_envs=2, render_mode="rgb_array")
    envs.reset(seed=0)
    assert np.array_equal(envs.call("render"), envs.render())
    assert TaskVectorEnv("GridMaze", num_envs=2).call("render") == (None, None)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda envs: envs.get_attr("gravity"), AttributeError, "gravity"),
        (lambda envs: envs.call("nothing"), AttributeError, "nothing"),
        (
            lambda envs: envs.call("reset", seed=0),
            UsageError,
            "'reset' cannot be called for a copy: call it on the Task",
        ),
        (lambda envs: envs.set_attr("note", [1, 2, 3]), UsageError, "one for each of the 2 copies, not 3"),
        (lambda envs: envs.set_attr("task", None), UsageError, "all copies are one CueReward"),
    ],
)
def test_what_copies_cannot_do_apart_is_refused(call, kind, words):
    with pytest.raises(kind, match=words):
        call(TaskVectorEnv("CueReward", num_envs=2))
