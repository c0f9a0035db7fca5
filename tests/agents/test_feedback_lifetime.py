"""Feedback networks live as one node of autograd: equal to dense weights, and freed in time."""

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor

import agents
from agents.networks.feedback import lifetime as feedback_lifetime
from agents.networks.feedback.network import FeedbackNetwork
from plastic_envs.core.supervised import SupervisedTask
from tests.agents.test_feedback_network import (
    TASK,
    WIDE,
    Blobs,
    gradients,
    live,
    make,
)


def dense(agent: FeedbackNetwork, monkeypatch: pytest.MonkeyPatch, task: SupervisedTask = TASK) -> agents.Rollout:
    """The rollout in the public form, by autograd."""
    with monkeypatch.context() as patch:
        patch.setattr(agent.rule, "low_rank", False)
        result = live(agent, task)
    assert all(isinstance(x, Tensor) for x in result.state["weights"].values())
    return result


@pytest.mark.parametrize("task", [TASK, WIDE, Blobs(7, 3, known=False)], ids=["long", "wide", "answered in turn"])
@pytest.mark.parametrize("feedback", ["random", "symmetric"])
@pytest.mark.parametrize(
    "rule",
    [
        "pool",
        "pool,sharing=layer",
        "pool,terms=1+2+3+4+5+6+9+10",
        "pool,terms=4",
        "pseudo-gradient",
        "tests.agents.test_feedback_network:Oja",
    ],
)
def test_rollouts_form_equals_dense_weights_and_autograd(
    rule: str, feedback: str, task: SupervisedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make(rule, task, feedback=feedback)
    expected, found = dense(agent, monkeypatch, task), live(agent, task)
    torch.testing.assert_close(found.outputs, expected.outputs, rtol=1e-9, atol=1e-11)
    for mine, theirs in zip(gradients(agent, found.loss.mean()), gradients(agent, expected.loss.mean()), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-11)
    closed = agent.close_state(found.state)  # after the backward pass, which went back to the births
    for layer, matrix in expected.state["weights"].items():
        torch.testing.assert_close(closed["weights"][layer], matrix.detach(), rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_weights_that_decay_strongly_come_back_in_the_backward_pass(
    strength: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Blobs(n_train=70, n_query=2)  # 0.7^70 is beyond double precision, and 0 has no inverse
    agent = make("pool,terms=1+4", task)
    with torch.no_grad():
        agent.rule.theta.copy_(torch.tensor([0.1, strength]))
    expected, found = dense(agent, monkeypatch, task), live(agent, task)
    theirs, mine = (gradients(agent, lived.loss.mean())[0] for lived in (expected, found))
    torch.testing.assert_close(mine, theirs, rtol=1e-7, atol=1e-9)


def test_a_loss_on_early_outputs_and_a_second_backward_pass_find_the_right_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent, task = make(task=Blobs(known=False)), Blobs(known=False)
    expected, found = dense(agent, monkeypatch, task), live(agent, task)
    for part in (slice(0, 5), slice(None)):
        mine, theirs = (
            torch.autograd.grad(lived.outputs[part].square().sum(), list(agent.parameters()), retain_graph=True)
            for lived in (found, expected)
        )
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-10)


@pytest.fixture
def lifetimes(monkeypatch: pytest.MonkeyPatch) -> list["weakref.ref[feedback_lifetime._Lifetime]"]:
    """The lifetimes that rollouts have made."""
    made: list[weakref.ref[feedback_lifetime._Lifetime]] = []
    honest = feedback_lifetime._Lifetime.__init__

    def note(self: feedback_lifetime._Lifetime, *args: Any) -> None:
        made.append(weakref.ref(self))
        honest(self, *args)

    monkeypatch.setattr(feedback_lifetime._Lifetime, "__init__", note)
    return made


@pytest.mark.parametrize("grad", [True, False])
def test_steps_are_remembered_only_for_gradients(grad: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    remembered: list[int] = []
    honest = feedback_lifetime._Lifetime.run

    def run(self: feedback_lifetime._Lifetime) -> tuple[Tensor, ...]:
        result = honest(self)
        remembered.append(sum(len(steps) for steps, _ in self.chunks))
        return result

    monkeypatch.setattr(feedback_lifetime._Lifetime, "run", run)
    with torch.set_grad_enabled(grad):
        live(make())
    assert remembered == [TASK.n_train] if grad else not any(remembered)


@pytest.mark.parametrize("task", [TASK, WIDE], ids=["long", "wide"])
@pytest.mark.parametrize("rule", ["pool,terms=1", "pool,terms=4", "pool,terms=1+3+4+10"])
@pytest.mark.parametrize("backward", [True, False])
def test_a_rollout_is_freed_without_the_garbage_collector(
    rule: str,
    task: SupervisedTask,
    backward: bool,
    lifetimes: list["weakref.ref[feedback_lifetime._Lifetime]"],
) -> None:
    agent = make(rule, task)
    gc.disable()
    try:
        result = live(agent, task)
        if backward:
            result.loss.mean().backward()
        del result
        assert lifetimes
        assert not any(lifetime() for lifetime in lifetimes)
    finally:
        gc.enable()
