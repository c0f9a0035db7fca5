"""Target discovery: how trials are built, what is paid and seen, and scores that can be worked out."""

import itertools
import math

import numpy as np
import pytest
import torch

import agents
from plastic_envs import Trajectory, make_task, play
from plastic_envs.tasks.target_discovery import DiscoveryState


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def trials(task, batch_size):
    """Every episode's trials: lists of (inputs (L, D), answers (L,)), the last one perhaps cut off."""
    state, _ = task.reset(batch_size, generator())
    for index in range(batch_size):
        inputs, answers = state.inputs[:, index], state.answers[:, index]
        ends = [0, *((answers >= 0).nonzero().flatten() + 2).tolist(), task.horizon]
        cut = [(inputs[a:b], answers[a:b]) for a, b in itertools.pairwise(ends) if a < b]
        yield cut


def test_trials_as_specified():
    task = make_task("TargetDiscovery")
    lengths, targets, places = [], [], []
    for episode in trials(task, 300):
        cues = torch.cat([inputs[:, :20] for inputs, _ in episode])
        assert len(cues) == 120
        kinds = cues[cues.any(1)].unique(dim=0)
        assert len(kinds) == 4
        assert torch.equal(kinds.abs(), torch.ones(4, 20))
        possible = torch.ones(4, dtype=torch.bool)
        for inputs, answers in episode[:-1]:
            length = len(inputs)
            lengths.append(length)
            assert torch.equal(inputs[:, 20], torch.arange(length) == length - 2)
            shown = inputs[:, :20].any(1)
            assert not shown[[0, -2, -1]].any()
            assert shown.sum() == 2
            which = [(kinds == cue).all(1).nonzero().item() for cue in inputs[shown, :20]]
            assert which[0] != which[1]
            in_trial = torch.isin(torch.arange(4), torch.tensor(which))
            possible &= in_trial if answers[-2] == 1 else ~in_trial
            assert answers[-2] in (0, 1)
            if length == 8:
                places.append(shown.nonzero().flatten().tolist())
        assert possible.sum() >= 1  # some cue explains all answers: the target
        targets.append(possible.sum().item())
    counts = np.bincount(lengths, minlength=9)
    assert not counts[:5].any()
    assert len(counts) == 9
    assert (np.abs(counts[5:] - counts.sum() / 4) < 5 * math.sqrt(counts.sum() / 4)).all()
    assert targets.count(1) > 295  # after some 18 trials it is nearly always told which
    assert {tuple(place) for place in places} == {(a, b) for a in range(1, 6) for b in range(a + 1, 6)}


def test_the_last_trial_is_cut_off():
    cut = [len(episode[-1][0]) for episode in trials(make_task("TargetDiscovery"), 400)]
    assert set(cut) == set(range(1, 9))


def test_observations_number_by_number():
    task = make_task("TargetDiscovery", n_cues=3, n_bits=2, n_shown=1, max_blanks=0, length=8)
    cue = torch.tensor([[0, 0], [-1, 1], [0, 0], [0, 0], [0, 0], [1, 1], [0, 0], [0, 0]])
    go = torch.tensor([0, 0, 1, 0, 0, 0, 1, 0])
    inputs = torch.zeros(8, 1, 9)
    inputs[:, 0, :2], inputs[:, 0, 2], inputs[:, 0, 3], inputs[:, 0, 4] = cue, go, 1, torch.arange(8) / 8
    state = DiscoveryState(inputs, torch.tensor([-1, -1, 1, -1, -1, -1, 0, -1]).unsqueeze(1), 0)
    rows, rewards, metrics = [], [], []
    for action in (1, 0, 1, 1, 0, 0, 1, 0):
        step = task.step(state, torch.tensor([action]))
        state = step.state
        rows.append(step.observation[0].tolist())
        rewards.append(step.reward.item())
        metrics.append(step.metric.item() if step.metric_mask else None)
    assert rows == [
        [-1, 1, 0, 1, 0.125, 0, 0, 0, 1],
        [0, 0, 1, 1, 0.25, 0, 0, 1, 0],
        [0, 0, 0, 1, 0.375, 1, 0, 0, 1],  # the right answer to the go signal has been paid
        [0, 0, 0, 1, 0.5, 0, 0, 0, 1],
        [1, 1, 0, 1, 0.625, 0, 0, 1, 0],
        [0, 0, 1, 1, 0.75, 0, 0, 1, 0],
        [0, 0, 0, 1, 0.875, -1, 0, 0, 1],
        [0] * 9,
    ]
    assert rewards == [0, 0, 1, 0, 0, 0, -1, 0]
    assert metrics == [None, None, 1, None, None, None, 0, None]


def test_first_observation_has_no_reward_and_no_action():
    state, observation = make_task("TargetDiscovery").reset(2, generator())
    assert observation.tolist() == [[0] * 21 + [1] + [0] * 5] * 2
    assert torch.equal(state.inputs[:, 0, 22], torch.arange(120) / 120)


def test_reward_and_metric_are_of_the_go_steps_alone():
    task = make_task("TargetDiscovery")
    state, _ = task.reset(50, generator())
    trace = play(task, task.uniform, 50, generator())
    assert torch.equal(trace.metric_mask, state.answers >= 0)
    assert torch.equal(trace.reward != 0, trace.metric_mask)
    assert torch.equal((trace.reward + 1)[trace.metric_mask] / 2, trace.metric[trace.metric_mask])
    count = trace.metric_mask.sum(0)
    assert torch.allclose(task.score(trace), (trace.reward.sum(0) / count + 1) / 2)


def oracle_by_trial(n_trials):
    """Of two halves one is known after the first trial, and after a trial with a cue of either half the target is.

    Of the 6 pairs of 4 cues 4 are such; the answer to the first of them is even, as that of the first trial.
    """
    return torch.tensor([1 / 2, *(1 - (1 / 3) ** trial * (2 / 3) / 2 for trial in range(n_trials - 1))]).double()


def test_scores_by_trial_are_those_that_can_be_worked_out():
    task = make_task("TargetDiscovery")
    oracle, chance = (play(task, task.policies[name], 8192, generator()) for name in ("oracle", "chance"))
    right = task.by_trial(oracle)
    assert len(right) == oracle.metric_mask.sum(0).max()
    expected = oracle_by_trial(12)
    assert (right[:12] - expected).abs().max() < 5 * 0.5 / math.sqrt(8192)
    assert task.by_trial(chance)[:15] == pytest.approx(torch.full((15,), 0.5), abs=5 * 0.5 / math.sqrt(8192))
    count = oracle.metric_mask.sum(0)
    wrong = ((1 - oracle_by_trial(24)).cumsum(0)[count - 1] / count).mean().item()
    scores = task.score(oracle)
    assert scores.mean().item() == pytest.approx(1 - wrong, abs=4 * scores.std().item() / math.sqrt(8192))
    assert scores.mean().item() == pytest.approx(0.945, abs=0.004)
    assert task.score(chance).mean().item() == pytest.approx(0.5, abs=0.007)


def test_by_trial_counts_the_episodes_that_came_so_far():
    task = make_task("TargetDiscovery")
    mask = torch.tensor([[1, 0], [0, 1], [1, 0], [1, 1], [1, 0]]).bool()
    metric = torch.tensor([[1, 0], [0, 0], [0, 0], [1, 1], [1, 0]]).float()
    assert task.by_trial(Trajectory(metric, metric, mask, torch.ones_like(mask))).tolist() == [0.5, 0.5, 1, 1]
    assert task.score(Trajectory(metric, metric, mask, torch.ones_like(mask))).tolist() == [0.75, 0.5]


def test_by_trial_takes_a_rollouts_trace():
    task = make_task("TargetDiscovery")
    with torch.no_grad():
        lived = agents.rollout(agents.make_for(task, hidden=4), task, 30, generator())
    right = task.by_trial(lived.trajectory)
    counts = lived.trajectory.metric_mask.cumsum(0)[-1]
    assert len(right) == counts.max()
    assert ((right >= 0) & (right <= 1)).all()


def test_the_oracle_uses_only_what_it_sees():
    task = make_task("TargetDiscovery", length=40)
    state, observation = task.reset(20, generator())
    memory = hidden = None
    for _ in range(40):
        action, memory = task.policies["oracle"](observation, memory, state, generator())
        blind, hidden = task.policies["oracle"](observation, hidden, None, None)
        assert torch.equal(action, blind)
        step = task.step(state, action)
        state, observation = step.state, step.observation
