"""Every example runs, with small settings; the libraries' own tools work on this package's environments."""

import importlib
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

import agents
import evolution
import plastic_envs
from tests.helpers import in_process

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name):
    return importlib.import_module(f"examples.{name}")


def test_each_example_is_run_here():
    text = Path(__file__).read_text()
    for file in EXAMPLES.glob("*.py"):
        assert f'"{file.stem}"' in text or f"examples.{file.stem}:" in text, f"no test runs {file.name}"


def test_quickstart_saves_an_agent_that_is_ahead_of_all_that_has_no_memory(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(EXAMPLES / "quickstart.py"), {"__name__": "quickstart"})
    task = names["task"]
    score = evolution.evaluate(agents.load("runs/quickstart"), task, episodes=2048)
    assert score.metric == evolution.evaluate(names["searcher"].agent(), task, episodes=2048).metric
    assert score.interval[1] < min(score.references[name] for name in ("zero", "echo", "shrunken mean"))
    plain, plastic, beside = capsys.readouterr().out.splitlines()
    assert plastic == (
        f"hebbian,rate=2: squared error {score.metric:.3f} "
        f"(95% interval {score.interval[0]:.3f} to {score.interval[1]:.3f})"
    )
    assert float(plain.split("error ")[1].split()[0]) > score.interval[1]
    assert f"shrunken mean {score.references['shrunken mean']:.3f}" in beside


def test_runs_and_comparisons_from_python(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with in_process.no_workers():
        example("comparison").main(budget=600)
    told = capsys.readouterr().out
    assert told.startswith("finished ")
    assert "hebbian by backprop" in told
    assert "none by backprop" in told
    assert told.splitlines()[-1] == str(Path("runs/several/report.html"))


def test_a_claim_of_ones_own_says_whether_it_holds(tmp_path):
    with in_process.no_workers():
        finding = evolution.claim("examples.custom_claim:copying", jobs=2, out=tmp_path)
    assert finding.holds is False  # the budget of a minute is too small for a difference
    assert sorted(path.name for path in (tmp_path / "parts").iterdir())[:2] == ["hebbian-seed-0", "hebbian-seed-1"]


def test_inspect_episode_reads_a_saved_agent(tmp_path, capsys):
    task = plastic_envs.make_task("CueReward")
    agents.save(agents.make_for(task, rule="hebbian", hidden=8, seed=5), tmp_path)
    records = example("inspect_episode").main(tmp_path)
    assert records["fast.cell"].shape[:2] == (task.horizon, 64)
    assert len(capsys.readouterr().out.splitlines()) == task.horizon + 1
    assert not records["fast.cell"][-1].isnan().any()
    assert records["fast.cell"][-1].abs().sum() > 0


def test_a_closed_loop_of_ones_own_is_learned_and_is_an_environment():
    task = plastic_envs.make_task("examples.custom_closed_loop:TwoArms,length=8")
    agent = agents.make_for(task, rule="additive-hebb", network="plastic-rnn", hidden=16)
    searcher = evolution.make_searcher("a2c,batch_size=64,learning_rate=0.01", task, agent)
    for _ in range(100):
        searcher.step()
    found = evolution.evaluate(searcher.agent(), task, 256)
    assert found.metric > 6.5
    assert abs(found.references["chance"] - 4) < 0.5
    assert abs(found.references["oracle"] - 7.5) < 0.15  # the first pull is a guess
    check_env(plastic_envs.TaskEnv(task), skip_render_check=True)
    envs = plastic_envs.TaskVectorEnv(task, num_envs=3)
    envs.reset(seed=0)
    paid = [envs.step(envs.action_space.sample())[1] for _ in range(20)]  # over ends of episodes
    assert {0.0, 1.0} == set(np.concatenate(paid).tolist())


def test_a_task_that_leaves_something_out_is_told_what():
    class Bare(example("custom_closed_loop").TwoArms):
        def __init__(self):
            self.horizon = 3

    with pytest.raises(
        plastic_envs.UsageError, match=r"^Bare must set slices, output_size, action_kind, metric_kind in"
    ):
        agents.make_for(Bare(), rule="hebbian")


def test_stable_baselines3_ppo():
    assert -20 < example("sb3_ppo").main(total_timesteps=640) < 0


def test_sb3_contrib_recurrent_ppo():
    assert 0 <= example("sb3_recurrent_ppo").main(total_timesteps=512) <= 1


def test_an_agent_as_a_policy_of_stable_baselines3():
    assert example("sb3_agent").main(episodes=60) >= 0


@pytest.mark.parametrize("name", ["evotorch_gymne", "evotorch_vecgymne"])
def test_evotorchs_own_problems(name):
    assert -40 < example(name).main(generations=2, population=8) < 0


def test_an_evotorch_problem_of_ones_own():
    assert example("evotorch_problem").main(generations=2, population=8) < 2


def test_gymnasiums_wrappers(tmp_path):
    single, many = example("gymnasium_wrappers").main(tmp_path / "videos", num_envs=1000)
    assert [file.suffix for file in (tmp_path / "videos").iterdir()] == [".mp4"]
    assert single < 0
    # answering 0 costs E[reward²] = 1/3 a step
    assert sum(many) / len(many) == pytest.approx(-20 / 3, abs=0.3)


def test_custom_task_is_learnt_from_its_name():
    task = plastic_envs.make_task("examples.custom_task:PairedAssociates,n_pairs=2")
    episode = task.sample(10_000, torch.Generator().manual_seed(0))
    assert task.metric(torch.zeros(task.horizon, 10_000, 1), episode).mean() == pytest.approx(task.chance, abs=0.01)
    assert task.metric(episode.targets, episode).mean() == task.best
    assert learns("examples.custom_task:PairedAssociates,n_pairs=2", updates=60)


def test_custom_rule_is_ojas():
    pre, post, weight = torch.randn(2, 3), torch.randn(2, 4), torch.randn(2, 3, 4)
    signals = agents.Signals(pre, post, read_weight=lambda: weight)
    change = example("custom_rule").Oja().change(signals)
    expected = post[:, None, :] * (pre[:, :, None] - post[:, None, :] * weight)
    torch.testing.assert_close(change, expected)
    assert learns("CueReward", rule="examples.custom_rule:Oja", updates=60)
    assert learns("CueReward", rule="examples.custom_rule:RewardHebb", updates=60)


@pytest.mark.parametrize(
    ("rule", "options"),
    [("none", {}), ("oja", {}), ("examples.custom_rule:RewardHebb", {}), ("additive-hebb", {"modulation": "tanh"})],
)
def test_a_network_of_ones_own_is_plastic_under_every_kind_of_rule(rule, options):
    task = plastic_envs.make_task("CueReward,n_cues=2,n_stimulus=3,n_show=3,n_query=2")
    agent = agents.make_for(
        task, rule=rule, network="examples.custom_network:PlasticGRU", hidden=5, **options, retroactive=bool(options)
    )
    lived = agents.rollout(agent, task, 4, torch.Generator().manual_seed(3))
    outputs, state = [], None
    for observation in lived.episode.inputs:
        output, state = agent(observation, state)
        outputs.append(output)
    torch.testing.assert_close(lived.outputs, torch.stack(outputs))  # quick rollouts are the steps one by one
    assert ("fast" in state) == (rule != "none")
    assert rule == "none" or state["fast"]["recurrent"].abs().max() > 1e-4
    lived.loss.mean().backward()
    assert all(value.grad.abs().max() > 0 for value in agent.parameters())
    both = {name: torch.stack([value, value.detach() * 2]) for name, value in agent.named_parameters()}
    again = agents.rollout(agent, task, 4, torch.Generator().manual_seed(3), parameters=both)
    torch.testing.assert_close(again.outputs[0], lived.outputs)


def test_custom_searcher_climbs_and_resumes():
    task = plastic_envs.make_task("CueReward")
    agent = agents.make_for(task, hidden=8)
    spec = "examples.custom_searcher:HillClimber,sigma=0.05,batch_size=16"
    whole, halves = (evolution.make_searcher(spec, task, agent, seed=1) for _ in range(2))
    for _ in range(20):
        whole.step()
    for _ in range(10):
        halves.step()
    resumed = evolution.make_searcher(spec, task, agent, seed=1)
    resumed.load_state_dict(halves.state_dict())
    for _ in range(10):
        resumed.step()
    assert resumed.episodes == whole.episodes == 20 * 2 * 16
    for a, b in zip(resumed.agent().parameters(), whole.agent().parameters(), strict=True):
        assert torch.equal(a, b)
    before, after = (evolution.evaluate(each, task, episodes=512).metric for each in (agent, whole.agent()))
    assert after < before


def learns(task_spec, rule="hebbian", updates=60):
    """Whether the loss of the last ten updates of backpropagation is below that of the first ten."""
    task = plastic_envs.make_task(task_spec)
    searcher = evolution.make_searcher("backprop,learning_rate=0.01", task, agents.make_for(task, rule=rule, hidden=16))
    losses = [searcher.step()["loss"] for _ in range(updates)]
    assert all(math.isfinite(loss) for loss in losses)
    return sum(losses[-10:]) < 0.9 * sum(losses[:10])
