"""What users write themselves, and how they are told what is wrong with it."""

import math
import os
import re
import sys
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import torch
from gymnasium.envs.classic_control import CartPoleEnv
from torch import nn

import agents
from agents import RankOne, Rule
from evolution import Searcher, evaluate, make_searcher, train
from evolution.experiments.workers import run_isolated
from plastic_envs import Episode, Step, SupervisedTask, TaskEnv, TaskVectorEnv, layout, make_task
from plastic_envs.core.policies import play
from plastic_envs.tasks.grid_maze import GridMaze
from plastic_envs.utils.errors import UsageError
from tests.helpers.runs import numbers, settings


class DelayedXor(SupervisedTask):
    """Two bits, a delay, then the class that is their XOR; `spoilt` replaces parts of the episodes."""

    action_kind = "discrete"

    def __init__(self, *, delay: int = 2, spoilt: Any = None) -> None:
        self.horizon = delay + 3
        self.slices = layout({"bit": 1, "go": 1})
        self.output_size = 2
        self.spoilt = spoilt

    def sample(self, batch_size: int, generator: torch.Generator) -> Episode:
        bits = torch.randint(2, (2, batch_size), generator=generator)
        inputs = torch.zeros(self.horizon, batch_size, 2)
        inputs[:2, :, 0], inputs[-1, :, 1] = bits * 2.0 - 1, 1
        last = (torch.arange(self.horizon) == self.horizon - 1).unsqueeze(1).expand(-1, batch_size)
        episode = Episode(inputs, bits.sum(0).remainder(2).expand(self.horizon, -1), last, last, {})
        return self.spoilt(episode) if self.spoilt else episode


class LearnedGain(Rule):
    """Hebb's rule times a learned number."""

    rank_one = True

    def __init__(self, start: float = 0.5) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(start))

    def change(self, signals: agents.Signals) -> RankOne:
        return RankOne(self.gain * signals.pre, signals.post)


class Unprepared(LearnedGain):
    def __init__(self) -> None:
        self.start = 0.5


class Choosy(LearnedGain):
    def __init__(self, start: float = 0.5) -> None:
        super().__init__(float(start))


class Changeless(Rule):
    """Has no `change`."""


class UnpreparedWithParameters(LearnedGain):
    def __init__(self) -> None:
        self.gain = nn.Parameter(torch.tensor(0.5))


class Idle(Searcher):
    """Presents `per_step` episodes, tells `told` and keeps `kept`."""

    per_step, told, kept = 10, {"loss": 1.0}, 0.0

    def step(self) -> dict[str, float]:
        self.ledger.count(self.per_step, env_steps=self.per_step * self.task.horizon)
        return self.told

    def agent(self) -> agents.Agent:
        return self._agent

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"kept": self.kept}


class UnpreparedSearcher(Idle):
    def __init__(self, task: Any, agent: agents.Agent, **common: Any) -> None:
        self.task, self._agent = task, agent


class Tireless(Idle):
    per_step = 0


class Silent(Idle):
    told: Any = None


class Leaver(Idle):
    """Ends the process after half of a run, unless `stays`."""

    stays, way = False, SystemExit

    def step(self) -> dict[str, float]:
        if self.episodes >= 200 and not Leaver.stays:
            raise Leaver.way
        return super().step()


class Hoarder(Idle):
    kept: Any = object()


def changed(**parts: Any) -> Any:
    """Spoils episodes: each part named becomes what its function makes of it."""
    return lambda episode: Episode(**vars(episode) | {k: f(getattr(episode, k)) for k, f in parts.items()})


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        (lambda episode: (episode.inputs, episode.targets), "must return a plastic_envs.Episode, not a tuple"),
        (lambda episode: episode.map(lambda part: part[1:]), r"inputs must be torch.float32 \(5, 4, 2\)"),
        (lambda episode: episode.map(lambda part: part.transpose(0, 1)), r"inputs .*, not torch.float32 \(4, 5, 2\)"),
        (changed(inputs=torch.Tensor.double), r"inputs must be torch.float32 .* not torch.float64"),
        (changed(inputs=torch.Tensor.numpy), "inputs must be a tensor, not a ndarray"),
        (changed(targets=lambda _: None), "targets must be a tensor, not a NoneType"),
        (changed(targets=torch.Tensor.float), r"targets must be torch.int64 \(5, 4\), not torch.float32"),
        (changed(targets=lambda targets: targets + 1), "targets must be classes from 0 to 1"),
        (changed(loss_mask=torch.Tensor.float), "loss_mask must be torch.bool"),
        (changed(metric_mask=torch.zeros_like), "metric_mask must be true for at least one step of every episode"),
    ],
)
def test_episodes_of_a_wrong_form_are_refused_by_rollouts_and_environments(spoilt: Any, message: str) -> None:
    task = DelayedXor(spoilt=spoilt)
    agent = agents.make_for(task, hidden=3)
    with pytest.raises(UsageError, match=message):
        agents.rollout(agent, task, 4, torch.Generator())
    with pytest.raises(UsageError, match=message.replace("5, 4", "5, 1").replace("4, 5", "1, 5")):
        TaskEnv(task).reset(seed=0)
    given = spoilt(DelayedXor().sample(4, torch.Generator()))
    with pytest.raises(UsageError, match=r"^episode: |^episode has |^episode must be a plastic_envs.Ep"):
        agents.rollout(agent, DelayedXor(), 4, torch.Generator(), episode=given)


@pytest.mark.parametrize(
    ("method", "measure", "message"),
    [
        *(
            (method, measure, rf"Own\.{method} must give a real number for each episode, a tensor \(4,\), not {found}$")
            for method in ("loss", "metric")
            for measure, found in (
                (lambda outputs: outputs.sum(), r"torch.float32 \(\)"),
                (lambda outputs: outputs.sum(-1), r"torch.float32 \(5, 4\)"),
                (lambda outputs: outputs.sum(-3)[:, :1], r"torch.float32 \(4, 1\)"),
                (lambda outputs: outputs.sum((0, 2)) * 1j, r"torch.complex64 \(4,\)"),
                (lambda outputs: None, "NoneType"),
            )
        ),
        (
            "loss",
            lambda outputs: outputs.sum((0, 2)) * math.nan,
            r"Own\.loss must be finite where outputs are, not nan",
        ),
        (
            "metric",
            lambda outputs: outputs.sum((0, 2)).exp() / 0,
            r"Own\.metric must be finite .*, not inf \(",
        ),
        ("step_loss", lambda outputs: outputs, r"Own\.step_loss must give a number for each step .*, not \(5, 4, 2\)$"),
        ("step_metric", lambda outputs: 0.5, r"Own\.step_metric must give a number for each step .*, not float$"),
    ],
)
def test_losses_and_metrics_of_ones_own_are_a_number_for_each_episode(method: str, measure: Any, message: str) -> None:
    """Of another shape they would be spread over episodes that they do not belong to."""
    task = type("Own", (DelayedXor,), {method: lambda self, outputs, *given: measure(outputs)})()
    with pytest.raises(UsageError, match=message):
        agents.rollout(agents.make_for(task, hidden=3), task, 4, torch.Generator())


def test_backpropagation_needs_a_loss_with_a_gradient() -> None:
    task = type("Own", (DelayedXor,), {"loss": lambda self, outputs, episode: outputs.detach().sum((0, 2))})()
    searcher = make_searcher("backprop,batch_size=4", task, agents.make_for(task, hidden=3))
    with pytest.raises(UsageError, match=r"^Own\.loss has no gradient by the outputs: backprop needs one$"):
        searcher.step()


@pytest.mark.parametrize(
    ("predict", "message"),
    [
        (lambda episode: episode.inputs[..., 0], r"outputs as a tensor \(10, 4, 1\), not torch.float32 \(10, 4\)"),
        (lambda episode: episode.inputs[0], r"outputs as a tensor \(10, 4, 1\), not torch.float32 \(4, 1\)"),
        (lambda episode: episode.inputs.numpy(), r"outputs as a tensor \(10, 4, 1\), not ndarray"),
        (lambda episode: 0.5, r"outputs as a tensor \(10, 4, 1\), not float"),
        (lambda episode: episode.inputs * math.nan, r"finite outputs, not nan \(step 0 of episode 0"),
        (lambda episode: episode.inputs / 0, r"finite outputs, not -?(inf|nan) \(step 0 of episode 0"),
        (lambda episode: episode.inputs * 0 + 1e38, r"a finite metric, not inf \(episode 0"),
    ],
)
def test_references_of_a_wrong_form_or_that_are_not_finite_are_refused(predict: Any, message: str) -> None:
    task = make_task("tests.helpers.user_code:RunningMean")
    task.references = {"mine": predict}
    with pytest.raises(UsageError, match=rf"^RunningMean's reference 'mine' must (give|have) {message}"):
        evaluate(agents.make_for(task, hidden=3), task, 4)


def test_references_cannot_change_the_episodes_that_others_are_scored_on() -> None:
    def spoil(episode: Episode) -> torch.Tensor:
        return episode.targets.zero_()

    task = make_task("tests.helpers.user_code:RunningMean")
    agent = agents.make_for(task, hidden=3)
    task.references = {"zero": task.zeros}
    alone = evaluate(agent, task, 4).references["zero"]
    task.references = {"spoils": spoil, "zero": task.zeros}
    assert evaluate(agent, task, 4).references == {"spoils": alone, "zero": alone}


@pytest.mark.parametrize("references", [[len], {"mine": 3}, 0.5], ids=str)
def test_references_have_names(references: Any) -> None:
    task = make_task("tests.helpers.user_code:RunningMean")
    task.references = references
    with pytest.raises(UsageError, match=r"^RunningMean.references must be a dict from names to predictors, not "):
        agents.make_for(task, hidden=3)


class SpoiltMaze(GridMaze):
    spoilt: Any = staticmethod(lambda step: step)

    def step(self, state: Any, action: torch.Tensor) -> Step:
        given: Step = self.spoilt(super().step(state, action))
        return given


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        (tuple, r"SpoiltMaze.step must return a plastic_envs.Step, not tuple"),
        (lambda step: step._replace(reward=step.reward[:, None]), r"reward as a tensor \(4,\), not \(4, 1\)"),
        (lambda step: step._replace(terminated=False), r"terminated as a tensor \(4,\), not bool"),
        (lambda step: step._replace(terminated=step.reward), r"terminated as torch.bool, not torch.float32"),
        (lambda step: step._replace(observation=step.observation[:, 1:]), r"observation .* \(4, 17\), not \(4, 16\)"),
        (lambda step: step._replace(observation=step.observation.double()), "observation as torch.float32, not .*64"),
        (lambda step: step._replace(reward=step.reward * 1j), "reward as real numbers, not torch.complex64"),
    ],
)
def test_steps_of_a_wrong_form_are_refused(spoilt: Any, message: str) -> None:
    task = SpoiltMaze(size=5, length=10)
    task.spoilt = spoilt
    with pytest.raises(UsageError, match=message):
        agents.rollout(agents.make_for(task, hidden=3), task, 4, torch.Generator())
    with pytest.raises(UsageError, match=message):
        play(task, task.uniform, 4, torch.Generator())
    for env in (TaskVectorEnv(task, num_envs=4), TaskEnv(task)):
        env.reset(seed=0)
        with pytest.raises(UsageError, match=message.replace("(4", "(1") if isinstance(env, TaskEnv) else message):
            env.step(env.action_space.sample())


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.float16, torch.bfloat16, torch.float64])
def test_rewards_and_metrics_are_numbers_of_any_type(dtype: torch.dtype) -> None:
    def told(dtype: torch.dtype) -> Any:
        task = SpoiltMaze(size=5, length=10)
        task.spoilt = lambda step: step._replace(reward=step.metric_mask.to(dtype), metric=step.metric_mask.to(dtype))
        lived = agents.rollout(agents.make_for(task, hidden=3), task, 4, torch.Generator())
        env = TaskVectorEnv(task, num_envs=4)
        env.reset(seed=0)
        _, reward, *_, info = env.step(env.action_space.sample())
        return [lived.loss.tolist(), lived.metric.tolist(), reward.tolist(), info["metric"].tolist()]

    assert told(dtype) == told(torch.float32)


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        (lambda state, seen: state, r"SpoiltStart.reset must return a state and the first observation, not MazeState"),
        (lambda state, seen: (state, seen[0]), r"reset must give the observation as a tensor \(4, 17\), not \(17,\)"),
        (lambda state, seen: (state, None), r"reset must give the observation as a tensor \(4, 17\), not NoneType"),
    ],
)
def test_starts_of_a_wrong_form_are_refused(spoilt: Any, message: str) -> None:
    class SpoiltStart(GridMaze):
        def reset(self, batch_size: int, generator: torch.Generator) -> Any:
            return spoilt(*super().reset(batch_size, generator))

    task = SpoiltStart(size=5, length=10)
    with pytest.raises(UsageError, match=message):
        agents.rollout(agents.make_for(task, hidden=3), task, 4, torch.Generator())


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (lambda *given: torch.zeros(4), "^a policy must return actions and a memory, not Tensor$"),
        (lambda *given: (torch.zeros(4, 1), None), r"^a policy must return actions as a tensor \(4,\), not \(4, 1\)$"),
        (lambda *given: (0, None), r"^a policy must return actions as a tensor \(4,\), not int$"),
        (lambda *given: (torch.zeros(4), None), "^a policy must return actions from 0 to 3, not torch.float32$"),
        (lambda *given: (torch.full((4,), 4), None), r"^a policy must return actions from 0 to 3, not 4 \(episode 0"),
    ],
)
def test_policies_that_give_no_actions_are_refused(policy: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        play(GridMaze(size=5, length=10), policy, 4, torch.Generator())


def test_policies_have_names() -> None:
    task = GridMaze(size=5, length=10)
    vars(task).update(policies=[task.uniform])
    with pytest.raises(UsageError, match=r"^GridMaze.policies must be a dict from names to policies, not \["):
        agents.make_for(task, hidden=3)


@pytest.mark.parametrize(("base", "name"), [(GridMaze, "reset"), (DelayedXor, "sample")])
def test_draws_from_the_global_generator_are_refused(base: Any, name: str) -> None:
    def careless(self: Any, batch_size: int, generator: torch.Generator) -> Any:
        torch.rand(batch_size)
        return getattr(base, name)(self, batch_size, generator)

    task = type("Careless", (base,), {name: careless})()
    agent = agents.make_for(task, hidden=3)
    with pytest.raises(
        UsageError, match=rf"^Careless\.{name} must draw from the generator it is given, not from torch"
    ):
        agents.rollout(agent, task, 4, torch.Generator())
    assert agents.rollout(agent, task, 4, torch.default_generator).metric.isfinite().all()


class SeedsTorch(CartPoleEnv):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        torch.manual_seed((seed or 0) % 2**31)
        return super().reset(seed=seed, options=options)


def test_environments_of_gymnasium_may_seed_the_global_generator() -> None:
    gymnasium.register("SeedsTorch-v0", entry_point=SeedsTorch, max_episode_steps=5)
    try:
        task = make_task("gym:SeedsTorch-v0")
        assert agents.rollout(agents.make_for(task, hidden=3), task, 4, torch.Generator()).env_steps == 20
    finally:
        del gymnasium.registry["SeedsTorch-v0"]


def test_what_is_no_agent_is_not_evaluated() -> None:
    with pytest.raises(UsageError, match=r"^agent must be an agents.Agent, not a str: agents.load reads one"):
        evaluate("runs/first", DelayedXor())  # type: ignore[arg-type]


@pytest.mark.parametrize("changed", [{"metric_kind": "rewards"}, {"action_kind": "Discrete"}], ids=str)
def test_kinds_that_there_are_not_are_refused(changed: dict[str, Any]) -> None:
    task = GridMaze(size=5, length=10)
    vars(task).update(changed)
    with pytest.raises(UsageError, match=r"^GridMaze\.\w+_kind '\w+': did you mean '\w+'\? \(it must be one of "):
        agents.make_for(task, hidden=3)


def test_targets_that_would_broadcast_are_refused() -> None:
    task = make_task("tests.helpers.user_code:RunningMean")
    task.output_size = 3
    with pytest.raises(UsageError, match=r"targets must be torch.float32 \(10, 4, 3\), not .* \(10, 4, 1\)"):
        agents.rollout(agents.make_for(task, hidden=3), task, 4, torch.Generator())


def test_the_metric_follows_the_kind_of_action_unless_set() -> None:
    task = DelayedXor()
    assert task.metric_kind == "accuracy"
    assert task.higher_is_better
    task = make_task("tests.helpers.user_code:RunningMean")
    assert task.metric_kind == "squared error"
    task.metric_kind = "reward"
    assert task.higher_is_better


@pytest.mark.parametrize("rule", ["Unprepared", "UnpreparedWithParameters"])
def test_rules_that_do_not_begin_as_modules_are_refused(rule: str) -> None:
    with pytest.raises(UsageError, match=rf"^rule 'tests.utils.test_own_code:{rule}': its __init__ must call super"):
        agents.make_for(DelayedXor(), rule=f"tests.utils.test_own_code:{rule}", hidden=3)


def test_what_a_rule_refuses_is_told() -> None:
    spec = "tests.utils.test_own_code:Choosy"
    with pytest.raises(UsageError, match=rf"^rule '{spec}': could not convert string to float: 'half'$"):
        agents.make_for(DelayedXor(), rule=f"{spec},start=half", hidden=3)


def test_a_rule_without_change_is_refused() -> None:
    agent = agents.make_for(DelayedXor(), rule="tests.utils.test_own_code:Changeless", hidden=3)
    with pytest.raises(UsageError, match=r"^rule Changeless has no method `change`"):
        agents.rollout(agent, DelayedXor(), 4, torch.Generator())


@pytest.mark.parametrize("name", ["pgpe", "snes"])
def test_a_learned_number_of_a_rule_is_searched_by_evolution(name: str) -> None:
    task = DelayedXor()
    agent = agents.make_for(task, rule="tests.utils.test_own_code:LearnedGain", hidden=3)
    searcher = make_searcher(f"{name},popsize=4,episodes=4", task, agent, searched=["rule.*"])
    for _ in range(2):
        searcher.step()
    assert searcher.n_searched == 1
    gain = dict(searcher.agent().named_parameters())["rule.gain"]
    assert gain.shape == ()
    assert gain != 0.5


@pytest.mark.parametrize(
    ("searcher", "message"),
    [
        ("UnpreparedSearcher", r"must call super\(\).__init__\(task, agent, \*\*common\)"),
        ("Tireless", "count episodes"),
        ("Silent", "must return"),
        ("Hoarder", "tensors, numbers and strings only"),
    ],
)
def test_a_searcher_that_cannot_be_gone_on_with_is_refused(tmp_path: Path, searcher: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train(settings(searcher=f"tests.utils.test_own_code:{searcher}"), tmp_path / "run")


def exits(*_: Any) -> Any:
    sys.exit(3)


@pytest.mark.parametrize("way", [SystemExit, KeyboardInterrupt])
def test_a_searcher_that_ends_the_process_is_named_and_loses_nothing(
    way: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = settings(searcher="tests.utils.test_own_code:Leaver")
    monkeypatch.setattr(Leaver, "way", way)
    name = repr(way).removesuffix("()") if isinstance(way, BaseException) else way.__name__
    with pytest.raises(
        UsageError, match=rf"test_own_code\.py, line \d+, in step: code of your own raised {re.escape(name)}"
    ):
        train(run, tmp_path / "left")
    monkeypatch.setattr(Leaver, "stays", True)
    train(run, tmp_path / "left", resume=True)
    train(run, tmp_path / "whole")
    assert numbers(tmp_path / "left") == numbers(tmp_path / "whole")


def test_tasks_rules_and_modules_that_end_the_process_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = DelayedXor()
    says = r"in exits: code of your own raised SystemExit\(3\), which would end the process"
    with pytest.raises(UsageError, match=says):
        evaluate(agents.make_for(task, hidden=3), DelayedXor(spoilt=exits), 4)
    monkeypatch.setattr(Changeless, "change", exits, raising=False)
    with pytest.raises(UsageError, match=says):
        evaluate(agents.make_for(task, rule="tests.utils.test_own_code:Changeless", hidden=3), task, 4)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_script.py").write_text("import argparse\nargparse.ArgumentParser().exit(4)")
    with pytest.raises(UsageError, match=r"a_script\.py, line 2, in <module>: code of your own raised SystemExit\(4\)"):
        make_task("a_script:Task")


def leaves(item: Any, report: Any) -> None:
    os._exit(5) if item else exits()


def test_workers_whose_code_ends_the_process_say_so() -> None:
    says = sorted(str(event.error) for event in run_isolated(leaves, [0, 1], jobs=1))
    assert re.search(r"in exits: code of your own raised SystemExit\(3\)", says[0])
    assert says[1] == "its worker process ended with status 5, as by os._exit in code of one's own"
