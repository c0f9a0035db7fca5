"""Every open-loop task: known scores, shapes, seeds, and what the agent may and may not see."""

import dataclasses
import math

import pytest
import torch
from sklearn.linear_model import Ridge

from plastic_envs import TASKS, SupervisedTask, Task, UsageError, layout, make_task
from plastic_envs.tasks.completion import CompletionTask

SPECS = [
    *(name for name in TASKS if issubclass(TASKS.load(name), SupervisedTask)),
    "CueReward,n_cues=3,noise=0,loss_steps=query",
    "SequenceReproduction,seq_length=5,delay=0",
    "FewShotRegression,kind=mlp,n_train=10,loss_steps=test",
    "FewShotRegression,kind=sinusoid",
    "FewShotImageClassification,split=validation,n_shot=2,n_query=1",
    "FewShotImageClassification,split=test,labels=rank,metric_steps=first,loss=binary",
    "FewShotImageClassification,rotate=false",
    "OnlineClassification,n_way=5,n_train=20,n_query=10,passes=2",
    "OnlineClassification,source=halfspace,n_way=2,n_train=20,n_query=10,query=support",
    "tests.helpers.user_code:RunningMean,n_steps=7",
]


@pytest.fixture(params=SPECS)
def task(request):
    return make_task(request.param)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def many(task):
    """As many episodes as give close means, fewer if they are long."""
    return min(20_000, 30_000_000 // (task.horizon * task.observation_size))


def tensors(episode):
    parts = [episode.inputs, episode.targets, episode.loss_mask, episode.metric_mask]
    return [*parts, *episode.hidden.values()]


def mean_metric(spec, predictor, n_episodes=20_000):
    """The mean metric of a reference predictor, or of the oracle, and its standard error."""
    task = make_task(spec)
    episode = task.sample(n_episodes, generator())
    predict = task.oracle if predictor == "oracle" else task.references[predictor]
    metric = task.metric(predict(episode), episode)
    return metric.mean().item(), (metric.std() / math.sqrt(n_episodes)).item()


def test_episode_shapes(task):
    episode = task.sample(6, generator())
    steps = (task.horizon, 6)
    assert episode.inputs.shape == (*steps, task.observation_size)
    assert episode.inputs.dtype == torch.float32
    if task.action_kind == "discrete":
        assert episode.targets.shape == steps
        assert episode.targets.dtype == torch.int64
        assert episode.targets.min() >= 0
        assert episode.targets.max() < task.output_size
    else:
        assert episode.targets.shape == (*steps, task.output_size)
        assert episode.targets.abs().max() <= task.action_bound
    for mask in (episode.loss_mask, episode.metric_mask):
        assert mask.shape == steps
        assert mask.dtype == torch.bool
        assert mask.any(0).all()
    assert all(value.shape[:2] == steps for value in episode.hidden.values())


def test_slices_tile_the_observation(task):
    stops = [0, *(part.stop for part in task.slices.values())]
    assert [part.start for part in task.slices.values()] == stops[:-1]
    assert all(math.prod(part.shape) == part.stop - part.start for part in task.slices.values())
    assert stops[-1] == task.observation_size


def test_same_seed_same_episodes(task):
    first, again, other = (task.sample(5, generator(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(*pair) for pair in zip(tensors(first), tensors(again), strict=True))
    assert not torch.equal(first.inputs, other.inputs)


def test_observations_stay_within_their_space(task):
    size = min(2000, 50_000_000 // (task.horizon * task.observation_size))  # bounds the memory of large images
    assert task.sample(size, generator()).inputs.abs().max() <= task.observation_bound


def test_feedback_is_blank_on_scored_steps(task):
    episode = task.sample(50, generator())
    for part in task.slices.values():
        if part.feedback:
            assert not episode.inputs[..., part.columns][episode.metric_mask].any()


def test_step_does_not_reveal_the_target(task):
    """With other targets on the scored steps, every observation is the same and the reward is not."""
    state, _ = task.reset(64, generator())
    episode = state.episode
    targets = episode.targets + 1
    if task.action_kind == "discrete":
        targets %= task.output_size
    scored = episode.metric_mask.view(*episode.metric_mask.shape, *[1] * (targets.dim() - 2))
    other = state._replace(episode=dataclasses.replace(episode, targets=targets.where(scored, episode.targets)))
    action = torch.zeros(64, *task.action_shape, dtype=torch.int64 if task.action_kind == "discrete" else torch.float32)
    differed = False
    for _ in range(task.horizon):
        step, other_step = task.step(state, action), task.step(other, action)
        assert torch.equal(step.observation, other_step.observation)
        differed |= not torch.equal(step.reward, other_step.reward)
        state, other = step.state, other_step.state
    assert differed


def test_predictors_see_no_future(task):
    """Answers up to a step are the same when all inputs after it are others."""
    episode, other = task.sample(8, generator(1)), task.sample(8, generator(2))
    now = task.horizon // 2
    mixed = dataclasses.replace(episode, inputs=torch.cat([episode.inputs[: now + 1], other.inputs[now + 1 :]]))
    for name, predict in task.references.items():
        assert torch.allclose(predict(episode)[: now + 1], predict(mixed)[: now + 1], atol=1e-5), name


def test_steps_add_up_to_loss_and_metric(task):
    """Stepping through an episode pays minus the loss (or the number of right answers) and shows all inputs."""
    state, observation = task.reset(4, generator())
    episode = task.sample(4, generator())
    outputs = torch.randn(task.horizon, 4, task.output_size, generator=generator(3))
    rewards, metrics = [], []
    for time in range(task.horizon):
        assert torch.equal(observation, episode.inputs[time])
        step = task.step(state, task.action(outputs[time]))
        state, observation = step.state, step.observation
        assert (step.terminated == (time == task.horizon - 1)).all()
        assert not step.reward[~episode.loss_mask[time]].any()
        rewards.append(step.reward)
        metrics.append(step.metric.where(step.metric_mask, 0))
    assert not observation.any()
    assert torch.allclose(torch.stack(metrics).sum(0) / episode.metric_mask.sum(0), task.metric(outputs, episode))
    paid = torch.stack(rewards).sum(0) / episode.loss_mask.sum(0)
    if task.action_kind == "box":
        summed = task.output_size if isinstance(task, CompletionTask) else 1  # its loss is a sum, its reward a mean
        assert torch.allclose(paid * summed, -task.loss(outputs, episode))
    elif torch.equal(episode.loss_mask, episode.metric_mask):
        assert torch.allclose(paid, task.metric(outputs, episode))


def test_population_broadcasts(task):
    episode = task.sample(4, generator())
    outputs = torch.randn(3, task.horizon, 4, task.output_size, generator=generator(1))
    for score in (task.loss, task.metric):
        one_by_one = torch.stack([score(individual, episode) for individual in outputs])
        assert torch.allclose(score(outputs, episode), one_by_one)
    state, _ = task.reset(4, generator())
    together = task.step(state, task.action(outputs[:, 0]))
    apart = [task.step(state, task.action(individual[0])).reward for individual in outputs]
    assert torch.allclose(together.reward, torch.stack(apart))


def test_replaced_episodes_run_on_their_own(task):
    """Episodes begun later than others in the same state proceed as they would alone."""
    outputs = torch.randn(task.horizon, 6, task.output_size, generator=generator(3))
    actions = task.action(outputs)
    mask = torch.tensor([True, False, False, True, False, True])
    state, _ = task.reset(6, generator(1))
    for time in range(2):
        state = task.step(state, actions[time]).state
    old, new = state, task.reset(3, generator(2))[0]
    state = task.replace(state, mask, new)
    for time in range(2, task.horizon):
        step, old_step = task.step(state, actions[time]), task.step(old, actions[time])
        new_step = task.step(new, actions[time][mask])
        for name in ("observation", "reward", "terminated", "metric", "metric_mask"):
            assert torch.equal(getattr(step, name)[~mask], getattr(old_step, name)[~mask]), name
            assert torch.equal(getattr(step, name)[mask], getattr(new_step, name)), name
        state, old, new = step.state, old_step.state, new_step.state


def test_oracle_reaches_best(task):
    if task.best is None:
        pytest.skip("the best score is not known")
    episode = task.sample(many(task), generator())
    metric = task.metric(task.oracle(episode), episode)
    error = metric.std().item() / math.sqrt(len(metric))
    assert metric.mean().item() == pytest.approx(task.best, abs=5 * error + 1e-9)


def test_chance_is_what_knowing_nothing_scores(task):
    if math.isnan(task.chance):
        pytest.skip("chance is not known")
    episode = task.sample(many(task), generator())
    metric = task.metric(task.zeros(episode), episode)
    error = metric.std().item() / math.sqrt(len(metric))
    assert metric.mean().item() == pytest.approx(task.chance, abs=5 * error + 1e-6)


@pytest.mark.parametrize(
    ("spec", "predictor", "expected"),
    [
        ("CueReward", "zero", 1 / 3),
        ("CueReward", "echo", 1 / 3),
        ("CueReward", "shrunken mean", 2 / 7),  # 0.286
        ("CueReward", "oracle", 0.8**10 / 3),  # 0.036
        ("CueReward,n_cues=2,n_show=3", "shrunken mean", (1 - 3 / 4 / 2) / 3),
        ("SequenceReproduction", "zero", 1 / 3),
        ("FewShotRegression", "zero", 39 / 40),
        ("FewShotRegression,kind=sinusoid", "zero", (5**3 - 0.1**3) / 3 / 4.9 / 2),
        ("FewShotImageClassification", "chance", 0.2),
    ],
)
def test_known_scores(spec, predictor, expected):
    mean, error = mean_metric(spec, predictor)
    assert mean == pytest.approx(expected, abs=5 * error + 1e-7)


@pytest.mark.parametrize(("predictor", "expected"), [("zero", 1 / 3), ("echo", 1 / 6), ("shrunken mean", 1 / 7)])
def test_loss_over_all_steps_of_cue_reward(predictor, expected):
    task = make_task("CueReward")
    episode = task.sample(20_000, generator())
    assert task.loss(task.references[predictor](episode), episode).mean().item() == pytest.approx(expected, abs=0.004)


def test_ideal_observer_is_nearly_the_oracle():
    mean, _ = mean_metric("CueReward", "ideal observer")
    assert 0.8**10 / 3 - 0.002 < mean < 0.8**10 / 3 + 0.004
    exact, error = mean_metric("CueReward,noise=0", "ideal observer")
    assert exact == pytest.approx(0.8**10 / 3, abs=5 * error)


def test_cue_reward_episode_as_specified():
    task = make_task("CueReward", noise=0)
    episode = task.sample(3000, generator())
    stimulus, reward, query = episode.inputs.split([14, 1, 1], -1)
    cue = episode.hidden["cue"]
    assert torch.equal(query[..., 0] > 0, torch.arange(20).unsqueeze(1).expand(20, 3000) >= 10)
    assert torch.equal(reward[:10], episode.targets[:10])
    same = cue.unsqueeze(0) == cue.unsqueeze(1)  # (T, T, B)
    distance = (stimulus[:, None] - stimulus[None]).abs().amax(-1)
    assert torch.equal(distance == 0, same)
    assert torch.equal(episode.targets[:, None, :, 0] == episode.targets[None, ..., 0], same)
    assert stimulus.min() >= 0
    assert stimulus.mean().item() == pytest.approx(0.5, abs=0.005)
    noisy = make_task("CueReward").sample(3000, generator()).inputs[..., :14] - stimulus
    assert noisy.std().item() == pytest.approx(0.1, rel=0.01)


def test_regression_episode_as_specified():
    task = make_task("FewShotRegression")
    episode = task.sample(4000, generator())
    x, y, train = episode.inputs.split([12, 1, 1], -1)
    assert torch.allclose(episode.targets.mean(0), torch.zeros(1), atol=1e-5)
    assert torch.allclose(episode.targets.std(0), torch.ones(1), atol=1e-5)
    assert (y - episode.targets)[:20].std().item() == pytest.approx(0.1, rel=0.01)
    assert torch.equal(train[:, 0, 0], (torch.arange(40) < 20).float())
    assert x.abs().max() <= 1


@pytest.mark.parametrize("kind", ["linear", "mlp", "sinusoid"])
def test_ridge_is_ridge_regression(kind):
    task = make_task("FewShotRegression", kind=kind)
    episode = task.sample(3, generator())
    answers = task.references["ridge"](episode)
    for b in range(3):
        x = torch.cat([episode.inputs[:, b, : task.n_inputs], torch.ones(40, 1)], -1).double().numpy()
        fit = Ridge(alpha=0.1, fit_intercept=False).fit(x[:20], episode.inputs[:20, b, -2].double().numpy())
        assert torch.allclose(answers[20:, b, 0].double(), torch.from_numpy(fit.predict(x[20:])), atol=1e-4)


def test_linear_functions_are_linear_and_sinusoids_are_sinusoids():
    linear = make_task("FewShotRegression").sample(1, generator())
    ones = torch.ones(40, 1)
    for episode, features in [
        (linear, torch.cat([linear.inputs[:, 0, :12], ones], -1)),
        (sine := make_task("FewShotRegression,kind=sinusoid").sample(1, generator()),
         torch.cat([sine.inputs[:, 0, :1].sin(), sine.inputs[:, 0, :1].cos()], -1)),
    ]:  # fmt: skip
        targets = episode.targets[:, 0]
        weights = torch.linalg.lstsq(features, targets).solution
        assert torch.allclose(features @ weights, targets, atol=1e-4)


@pytest.mark.parametrize("spec", ["CueReward", "FewShotRegression", "SequenceReproduction"])
def test_loss_steps_are_the_metrics_or_all(spec):
    task = make_task(spec)
    episode = task.sample(2, generator())
    if hasattr(task, "loss_steps"):
        assert episode.loss_mask.all()
        narrow = make_task(spec, loss_steps="query" if spec == "CueReward" else "test").sample(2, generator())
        assert torch.equal(narrow.loss_mask, episode.metric_mask)
    else:
        assert torch.equal(episode.loss_mask, episode.metric_mask)


def test_unknown_names_and_options_are_refused_in_one_sentence():
    for spec, words in {
        "CueRewards": "did you mean 'CueReward'",
        "CueReward,n_cue=3": "no option 'n_cue': did you mean 'n_cues'",
        "CueReward,n_cues": "name,key=value",
        "nowhere:Task": "no module 'nowhere'",
        "tests.helpers.user_code:Missing": "has no 'Missing'",
        "tests.helpers.user_code:not_a_task": "not a class or function",
        "tests.helpers.user_code:stripes": "not a plastic_envs.Task",
    }.items():
        with pytest.raises(UsageError, match=words.replace("(", r"\(")):
            make_task(spec)


@pytest.mark.parametrize(
    "spec",
    [
        "CueReward,n_cues=0",
        "CueReward,n_show=2.5",
        "CueReward,n_query=true",
        "CueReward,noise=-1",
        "CueReward,noise=NaN",
        "CueReward,noise=much",
        "CueReward,loss_steps=some",
        "SequenceReproduction,seq_length=0",
        "SequenceReproduction,delay=-1",
        "FewShotRegression,kind=cubic",
        "FewShotRegression,kind=sinusoid,n_inputs=2",
        "FewShotRegression,kind=sinusoid,min_amplitude=6",
        "FewShotRegression,n_train=none",
    ],
)
def test_bad_values_are_refused_by_name(spec):
    argument = spec.rpartition(",")[2].partition("=")[0]
    with pytest.raises(UsageError, match="amplitude" if "amplitude" in argument else f"^{argument} must be"):
        make_task(spec)


def test_options_override_the_spec():
    assert make_task("SequenceReproduction,seq_length=5,delay=0", delay=3).horizon == 13


def test_users_task_has_everything():
    task = make_task("tests.helpers.user_code:RunningMean")
    assert isinstance(task, SupervisedTask)
    assert isinstance(task, Task)
    assert task.held_out() is task
    assert not task.higher_is_better
    assert task.oracle is None


def test_layout_places_parts_side_by_side():
    slices = layout({"image": (2, 3), "label": 4}, feedback=["label"])
    assert slices["image"].columns == slice(0, 6)
    assert slices["label"] == (6, 10, (4,), True)
