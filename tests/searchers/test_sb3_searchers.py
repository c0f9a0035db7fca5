"""The searchers a2c and ppo."""

import gc
from functools import partial

import pytest
import torch

import agents
from agents.fast_weights.fused_nodes import Life
from evolution import Diverged, cli, evaluate, make_searcher
from evolution.runs.checkpoint import same_state
from plastic_envs import Step, Task, UsageError, layout, make_task
from tests.searchers.test_sb3 import (
    CUES,
    MAZE,
    either,
)


class Bandit(Task):
    """Two arms, of which one pays 1 throughout the episode: 7.5 of 8 is the most that can be expected."""

    output_size, action_kind, metric_kind, observation_bound = 2, "discrete", "reward", 1.0
    horizon = 8
    slices = layout({"action": 2, "reward": 1})

    def reset(self, batch_size, generator):
        return (torch.randint(2, (batch_size,), generator=generator), 0), torch.zeros(batch_size, 3)

    def step(self, state, action):
        arm, time = state[0], state[1] + 1
        reward = (action == arm).float()
        seen = torch.cat([torch.eye(2)[action], reward.unsqueeze(-1)], -1)
        ended = torch.full_like(arm, time >= self.horizon, dtype=torch.bool)
        return Step((arm, time), seen, reward, ended, reward, torch.ones_like(ended))


@pytest.mark.parametrize("spec", ["a2c,batch_size=64,learning_rate=0.01", "ppo,learning_rate=0.003,n_epochs=4"])
def test_learns_which_arm_pays(spec):
    task = Bandit()
    searcher = make_searcher(spec, task, agents.make_for(task, rule="none", hidden=16), seed=0)
    while searcher.episodes < (12_800 if spec.startswith("a2c") else 2560):
        searcher.step()
    assert evaluate(searcher.agent(), task, 1000, references=False).metric > 7.3


@either
def test_observations_are_normalised_by_what_was_seen_and_resumed(algorithm):
    task = make_task("gym:CartPole-v1")
    agent = agents.make_for(task, rule="none", hidden=4)
    make = partial(make_searcher, f"{algorithm},schedule=linear", task, agent, seed=1, budget=200)
    whole = make()
    whole.step()
    state = whole.state_dict()
    assert int(state["normaliser"]["count"]) == whole.env_steps > 6
    resumed = make()
    resumed.load_state_dict(state)
    assert whole.step() == resumed.step()
    assert same_state(whole.state_dict(), resumed.state_dict())
    assert whole.agent().normaliser.count == whole.env_steps


def test_only_what_is_searched_is_trained_and_the_value_is_no_part_of_the_agent():
    task = make_task(MAZE)
    agent = agents.make_for(task, rule="hebbian", hidden=5)
    searcher = make_searcher("a2c,batch_size=4", task, agent, searched=["decode.*"])
    assert set(searcher.state_dict()["parameters"]) == {
        "agent.decode.weight", "agent.decode.plasticity", "value_net.weight", "value_net.bias"
    }  # fmt: skip
    searcher.step()
    assert dict(searcher.agent().named_parameters()).keys() == dict(agent.named_parameters()).keys()


@either
def test_what_is_not_finite_ends_the_search_and_leaves_the_agent(algorithm):
    task = make_task(CUES)
    agent = agents.make_for(task, rule="none", hidden=4)
    searcher = make_searcher(algorithm, task, agent)
    searcher.algorithm.policy.optimizer.param_groups[0]["params"][0].register_hook(lambda grad: grad * torch.nan)
    before = searcher.state_dict()["parameters"]
    with pytest.raises(Diverged, match="a gradient is not finite"):
        searcher.step()
    assert same_state(searcher.state_dict()["parameters"], before)
    assert (searcher.episodes, searcher.env_steps) == (6, 36)
    searcher.algorithm.policy.agent.decode.weight.data.fill_(torch.inf)
    with pytest.raises(Diverged, match="outputs are not finite"):
        searcher.step()


@either
def test_gradients_of_episodes_are_let_go_when_they_are_used(algorithm):
    """Without the collector of cycles: what callbacks are told must not keep the graphs of all updates alive."""
    task = make_task(MAZE)
    agent = agents.make_for(task, rule="additive-hebb", network="plastic-rnn", hidden=5)
    searcher = make_searcher(algorithm, task, agent)
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            searcher.step()
        alive = [one for one in gc.get_objects() if type(one) is Life]
    finally:
        gc.enable()
    assert len(alive) <= 1  # of the policy's last distribution


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("a2c,gamma=1.5", "gamma must be a number from 0 to 1, not 1.5"),
        ("a2c,batch_size=0", "batch_size must be an integer of at least 1"),
        ("a2c,n_epochs=2", "has no option 'n_epochs'"),
        ("ppo,batch_size=10,minibatch_size=4", "batch_size=10 is not a multiple of minibatch_size=4"),
        ("ppo,batch_size=0,minibatch_size=1", "batch_size must be an integer of at least 1"),
        ("ppo,minibatch_size=0", "minibatch_size must be an integer of at least 1"),
        ("ppo,gama=0.5", "did you mean 'gamma'"),
        ("ppo,clip_range=-1", "clip_range must be"),
        ("ppo,entropy=-1", "entropy must be"),
    ],
)
def test_bad_options_are_one_sentence(spec, message):
    task = make_task(CUES)
    with pytest.raises(UsageError, match=message) as caught:
        make_searcher(spec, task, agents.make_for(task, hidden=4))
    assert "\n" not in str(caught.value)


def test_from_the_command_line(tmp_path, capsys):
    words = f"--rules hebbian,none --searchers backprop a2c,batch_size=4 --seeds 1 --budget 8 --hidden 4 {SIZES}"
    assert cli.main(f"compare --tasks {MAZE} {words} --dry-run".split()) == 0
    text = capsys.readouterr().out
    assert "backprop: skipped: backprop needs a task with targets" in text
    assert "hebbian by a2c,batch_size=4: 1 × 8 episodes" in text
    words = f"train {MAZE} --searcher a2c --network plastic-rnn --rule decaying-hebb --budget 60 {SIZES}"
    assert cli.main([*words.split(), "--out", str(tmp_path / "run")]) == 0
    assert cli.main(["evaluate", str(tmp_path / "run"), "--episodes", "8"]) == 0
    assert cli.main(["list", "ppo"]) == 0
    assert "minibatch_size" in capsys.readouterr().out


SIZES = "--evals 1 --eval-episodes 8"
