"""The same numbers, and float32, whatever torch's default dtype is."""

import itertools
from contextlib import contextmanager

import gymnasium as gym
import numpy as np
import pytest
import torch

import agents
from agents.networks import NETWORKS
from agents.networks.cells import CELLS
from agents.networks.front_ends import FRONT_ENDS
from agents.rules import RULES
from evolution import SEARCHERS, evaluate, make_searcher
from evolution.evaluation.evaluate import reference_scores
from plastic_envs import TASKS, WORLDS, SupervisedTask, TaskEnv, TaskVectorEnv, UsageError, make_task, play
from plastic_envs.data import LabelledData, load_data
from plastic_envs.envs.parallel_env import TaskParallelEnv
from plastic_envs.utils.precision import in_float32
from tests.helpers.runs import TASK
from tests.tasks.test_masks import SMALL, same

DTYPES = [torch.float64, torch.bfloat16, torch.float16]


@contextmanager
def default(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def plain(tree):
    """A tree of tensors, arrays and tuples as dicts, lists, and detached tensors."""
    if isinstance(tree, dict):
        return {key: plain(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [plain(value) for value in tree]
    return tree.detach() if isinstance(tree, torch.Tensor) else tree


def dtypes(tree):
    """Of all tensors and arrays in a tree that are not whole numbers."""
    if isinstance(tree, dict | list | tuple):
        return set().union(*map(dtypes, tree.values() if isinstance(tree, dict) else tree))
    kept = isinstance(tree, torch.Tensor) and tree.is_floating_point()
    return {str(tree.dtype)} if kept or (isinstance(tree, np.ndarray) and tree.dtype.kind == "f") else set()


def is_same_by_default_of(dtype, told, allowed=("torch.float32", "float32")):
    """Whether a function gives the same to the last bit under another default, and only what is allowed."""
    expected = plain(told())
    with default(dtype):
        found = plain(told())
        assert torch.get_default_dtype() == dtype  # as it was
    assert same(expected, found)
    assert dtypes(found) <= set(allowed)


def spec(name):
    return SMALL.get(name, name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*TASKS, *WORLDS])
def test_tasks_and_their_references(name, dtype):
    def told():
        task = make_task(spec(name)).held_out()
        batch = 2 * task.drawn_together
        state, first = task.reset(batch, generator(1))
        parts = [first, task.uniform(first, None, state, generator(3))]
        for _ in range(min(task.horizon, 12)):
            action = task.uniform(first, None, None, generator(2))[0]
            state, *given = task.step(state, action)
            parts += given
        if isinstance(task, SupervisedTask):
            episode = task.sample(batch, generator(4))
            parts += [
                vars(episode) | {"hidden": dict(episode.hidden)},
                reference_scores(task, episode, batch, generator()),
            ]
            predicted = [predict(episode) for predict in task.references.values()]
            parts += [*predicted, *(task.loss(outputs, episode) for outputs in predicted)]
        else:
            parts += [play(task, policy, batch, generator(5)) for policy in task.policies.values()]
        return [parts, task.observation_bound, task.action_bound]

    is_same_by_default_of(dtype, told)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("source", ["digits", "photographs", "halfspace", "relu1", "rnn"])
def test_data(source, dtype):
    options = {"relu1": {"n_hidden": 5}, "rnn": {"n_units": 8, "cap": 3}}

    def told():
        clear()
        data = load_data(source, **options.get(source, {}))
        return [data.features, data.labels, data.test, data.take(torch.arange(5)), list(data.splits.values())]

    def clear():
        from plastic_envs.data import digits, photographs, synthetic

        for made in (digits.digits, photographs.photographs, synthetic.halfspace, synthetic.relu, synthetic.rnn):
            made.cache_clear()

    is_same_by_default_of(dtype, told)
    clear()


@pytest.mark.parametrize("dtype", DTYPES)
def test_data_of_lists_and_arrays(dtype):
    def told():
        rows = np.random.default_rng(0).random((37, 3))
        data = [LabelledData(rows.tolist(), [0, 1] * 18 + [1]), LabelledData(rows, torch.arange(37) % 3)]
        return [[made.features, made.test] for made in data]

    is_same_by_default_of(dtype, told)


RULE_NETWORKS = sorted(
    {
        (rule, network)
        for rule, network in itertools.product(RULES, NETWORKS)
        if set(RULES.load_class(rule, agents.Rule).needs) <= NETWORKS.load(network).offers
    }
)


@pytest.mark.parametrize(("rule", "network"), RULE_NETWORKS)
def test_every_rule_on_every_network(rule, network):
    learns = NETWORKS.load(network).learns_from_labels
    task = make_task("OnlineClassification,n_train=4,n_query=2" if learns else "FewShotRegression,n_train=3,n_test=2")
    several = network in ("feedback", "hebbian-mlp")

    def told():
        hidden = {} if network == "plastic-head" else {"hidden": "5" if several else 5}
        if network == "kwta":
            hidden |= {"k": 2}
        agent = agents.make_for(task, rule=rule, network=network, seed=1, **hidden)
        lived = agents.rollout(agent, task, 2, generator(1))
        parts = [dict(agent.state_dict()), lived.outputs, lived.loss, lived.penalty, agent.close_state(lived.state)]
        if lived.loss.requires_grad:
            (lived.loss.sum() + lived.penalty).backward()
            parts += [parameter.grad for parameter in agent.parameters() if parameter.grad is not None]
        population = {name: torch.stack([x.detach(), 0.9 * x.detach()]) for name, x in agent.named_parameters()}
        parts += [agents.rollout(agent, task, 2, generator(1), parameters=population).loss]
        output, state = agent(task.sample(3, generator(2)).inputs[0])
        parts += [output, state, agent(task.sample(3, generator(3)).inputs[0], state)]
        return parts

    try:
        told()
    except UsageError as error:
        pytest.skip(str(error))
    is_same_by_default_of(torch.float64, told)


@pytest.mark.parametrize(
    ("option", "name"), [*(("cell", name) for name in CELLS), *(("front_end", name) for name in FRONT_ENDS)]
)
def test_cells_and_front_ends(option, name):
    images = torch.rand(12, 3, 32, 32, generator=generator(), dtype=torch.float32), torch.arange(12) // 2
    task = make_task("FewShotImageClassification", source=images, n_way=2, rotate=True)
    rest = {"hidden": 4, "modulation": "sigmoid"} if option == "cell" else {"network": "plastic-head"}

    def told():
        agent = agents.make_for(task, **{option: name}, **rest)
        lived = agents.rollout(agent.train(), task, 2, generator(1))
        lived.loss.sum().backward()
        return [dict(agent.state_dict()), lived.loss, [parameter.grad for parameter in agent.parameters()]]

    is_same_by_default_of(torch.float64, told)


SEARCHES = dict.fromkeys(SEARCHERS, "popsize=8,episodes=2") | {
    "backprop": "batch_size=4",
    "a2c": "batch_size=4",
    "ppo": "batch_size=4,minibatch_size=2,n_epochs=2",
    "species": "of=(pgpe,popsize=4,episodes=4)",
    "alleles": "popsize=4,episodes=2,n_genes=4",
}


@pytest.mark.parametrize("name", SEARCHERS)
def test_searchers_and_what_they_save(name, tmp_path):
    task = make_task("RepeatedGame,length=3,n_agents=4" if name == "species" else TASK)

    def told():
        agent = agents.make_for(task, hidden=3, seed=1)
        searcher = make_searcher(f"{name},{SEARCHES[name]}", task, agent, seed=2, budget=100)
        steps = [searcher.step(), searcher.step()]
        state = searcher.state_dict()
        again = make_searcher(f"{name},{SEARCHES[name]}", task, agent, seed=2, budget=100)
        again.load_state_dict(state)
        found = again.agent()
        agents.save(found, tmp_path / str(torch.get_default_dtype()))
        loaded = agents.load(tmp_path / str(torch.get_default_dtype()))
        scores = evaluate(loaded, task, 4).scores
        return [steps, again.step(), dict(found.state_dict()), dict(loaded.state_dict()), scores]

    is_same_by_default_of(torch.float64, told)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["CueReward", "GridMaze", "TargetDiscovery", "Foraging", "OneAgent"])
def test_environments_stay_inside_their_spaces(name, dtype):
    def told():
        task = make_task(spec(name))
        envs = TaskVectorEnv(task, num_envs=2 * task.agents_per_world, autoreset_mode="SameStep")
        parts = [envs.reset(seed=1)[0]]
        assert envs.observation_space.contains(parts[0])
        envs.action_space.seed(0)
        for _ in range(task.horizon + 1):
            seen, *paid, _ = envs.step(envs.action_space.sample())
            assert envs.observation_space.contains(seen)
            parts += [seen, *paid]
        if task.agents_per_world == 1:
            env = TaskEnv(task)
            parts += [env.reset(seed=2)[0]]
            env.action_space.seed(0)
            for _ in range(task.horizon):
                parts += [env.step(env.action_space.sample())[:3]]
                assert env.observation_space.contains(parts[-1][0])
        else:
            world = TaskParallelEnv(task)
            parts += [world.reset(seed=2)[0], *world.step(dict.fromkeys(world.agents, 1))[:3]]
        return parts

    is_same_by_default_of(dtype, told)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("target", ["examples.custom_task:PairedAssociates", "examples.custom_closed_loop:TwoArms"])
def test_tasks_of_ones_own_that_name_no_dtype(target, dtype):
    def told():
        task = make_task(target)
        made = type(task)()  # without a door of the package
        agent = agents.make_for(made, hidden=3)
        lived = agents.rollout(agent, made, 3, generator())
        searcher = make_searcher("a2c,batch_size=4", made, agent, seed=1)
        return [lived.loss, made.reset(2, generator())[1], searcher.step(), TaskEnv(made).reset(seed=0)[0]]

    is_same_by_default_of(dtype, told)


@pytest.mark.parametrize("dtype", DTYPES)
def test_policies_of_stable_baselines3(dtype):
    from evolution.searchers.policy_gradient.a2c import EpisodicA2C
    from evolution.searchers.policy_gradient.sb3_policy import AgentPolicy
    from plastic_envs.envs.sb3_vec_env import SB3VecEnv

    def told():
        task = make_task("TargetDiscovery,length=8")
        envs = SB3VecEnv(TaskVectorEnv(task, num_envs=4, autoreset_mode="SameStep"))
        keywords = {"policy_kwargs": {"agent": agents.make_for(task, hidden=3, seed=1)}, "seed": 1, "device": "cpu"}
        algorithm = EpisodicA2C(AgentPolicy, envs, **keywords)
        algorithm.learn(16)
        seen = envs.reset()
        action, state = algorithm.predict(seen, deterministic=True)
        after = algorithm.predict(seen, state, np.zeros(4, bool), deterministic=True)
        return [action, state, *after, dict(algorithm.policy.state_dict())]

    is_same_by_default_of(dtype, told)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_gymnasium_environments_as_tasks(dtype):
    def told():
        task = make_task("gym:CartPole-v1,max_episode_steps=8")
        lived = agents.rollout(agents.make_for(task, hidden=3), task, 2, generator())
        env = gym.make("plastic_envs/CueReward-v0")
        return [lived.loss, lived.trajectory, lived.outputs, env.reset(seed=1)[0]]

    # rewards that are not the package's own keep their digits
    is_same_by_default_of(dtype, told, allowed=("torch.float32", "torch.float64", "float32"))


def test_agents_in_double_precision_stay_so_under_any_default():
    def told():
        task = make_task("CueReward,n_show=2,n_query=2")
        agent = agents.make_for(task, hidden=3).double()
        episode = task.sample(2, generator()).map(lambda part: part.double() if part.is_floating_point() else part)
        return [agents.rollout(agent, task, 2, generator(), episode=episode).loss, agent(episode.inputs[0])]

    for dtype in DTYPES:
        is_same_by_default_of(dtype, told, allowed=("torch.float64",))


def test_the_default_is_as_it_was_after_an_error():
    def fail():
        assert torch.get_default_dtype() == torch.float32
        raise ValueError("as asked")

    with default(torch.float64):
        with pytest.raises(ValueError, match="as asked"):
            in_float32(fail)()
        assert torch.get_default_dtype() == torch.float64
