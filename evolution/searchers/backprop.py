"""Backpropagation through whole episodes."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch

from agents import Agent, rollout
from agents.rollouts.sizes import check_lives
from evolution.searchers.base import Diverged, Searcher, with_gradients
from evolution.searchers.learning_rate import LearningRate
from evolution.searchers.optimizer_state import load_moments, load_values
from evolution.seeding import make_generator
from plastic_envs.core.task import Task
from plastic_envs.utils.checks import check_bool, check_choice, check_float, check_int
from plastic_envs.utils.errors import UsageError

OPTIMIZERS = ("adam", "adamw", "sgd")


class Backprop(Searcher):
    """Stochastic gradient descent on the mean loss of fresh episodes, through every step of them.

    The defaults are those of Duan et al. 2023 (arXiv:2302.03235): AdamW with amsgrad, learning rate 1e-3, no weight
    decay, gradient norm clipped at 5, 64 episodes an update.

    Args:
        task: a task with targets.
        agent: where the search starts.
        seed: root seed of the episodes.
        searched: name patterns of the parameters to search.
        budget: episodes of the whole search, which a schedule needs.
        optimizer: "adam", "adamw" or "sgd".
        learning_rate: step size, at the start of the schedule.
        batch_size: episodes an update.
        clip: bound of the gradient's norm; None for none.
        weight_decay: as the optimizer defines it.
        amsgrad: for "adam" and "adamw".
        momentum: for "sgd".
        schedule: None, or "cosine" or "linear" from the learning rate to 0 over the budget.

    Raises:
        UsageError: the task has no targets, or an option is out of range.
    """

    needs_targets = True

    @with_gradients
    def __init__(
        self,
        task: Task,
        agent: Agent,
        *,
        seed: int = 0,
        searched: Sequence[str] = ("*",),
        budget: int | None = None,
        optimizer: str = "adamw",
        learning_rate: float = 1e-3,
        batch_size: int = 64,
        clip: float | None = 5.0,
        weight_decay: float = 0.0,
        amsgrad: bool = True,
        momentum: float = 0.0,
        schedule: str | None = None,
    ) -> None:
        super().__init__(task, agent, seed=seed, searched=searched, budget=budget)
        self.learning_rate = LearningRate(learning_rate, schedule, budget)
        self.batch_size = check_int("batch_size", batch_size, low=1)
        check_lives(agent, task, batch_size, what=f"batch_size={batch_size}")
        self.clip = math.inf if clip is None else check_float("clip", clip, low=0)
        self.generator = make_generator(seed, "task")
        for name, parameter in self._agent.named_parameters():
            parameter.requires_grad_(name in self.searched)
        for module in self._agent.modules():  # batch normalisation that is not searched keeps its running averages
            module.training = any(parameter.requires_grad for parameter in module.parameters())
        self._parameters = {name: value for name, value in self._agent.named_parameters() if name in self.searched}
        self.optimizer = self._make_optimizer(optimizer, weight_decay, amsgrad, momentum)

    def _make_optimizer(self, name: str, weight_decay: float, amsgrad: bool, momentum: float) -> torch.optim.Optimizer:
        parameters = list(self._parameters.values())
        check_choice("optimizer", name, OPTIMIZERS)
        weight_decay = check_float("weight_decay", weight_decay, low=0)
        if name == "sgd":
            momentum = check_float("momentum", momentum, low=0)
            return torch.optim.SGD(parameters, self.learning_rate.rate, momentum, weight_decay=weight_decay, fused=True)
        if momentum:
            raise UsageError(f"momentum={momentum} is for the optimizer 'sgd', not for {name!r}")
        check_bool("amsgrad", amsgrad)
        kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
        return kind(parameters, self.learning_rate.rate, weight_decay=weight_decay, amsgrad=amsgrad, fused=True)

    @with_gradients
    def step(self) -> dict[str, float]:
        """One update on `batch_size` fresh episodes."""
        lived = rollout(self._agent, self.task, self.batch_size, self.generator)
        loss = lived.loss.mean()
        if not loss.requires_grad:
            raise UsageError(f"{type(self.task).__name__}.loss has no gradient by the outputs: backprop needs one")
        self.optimizer.zero_grad()
        (loss + lived.penalty).backward()  # type: ignore[no-untyped-call]
        self.ledger.count(self.batch_size, env_steps=lived.env_steps)
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters.values(), self.clip))
        if not math.isfinite(loss.item()) or not math.isfinite(norm):
            raise Diverged(f"loss {loss.item()}, gradient norm {norm} after {self.episodes} episodes")
        rate = self.learning_rate.at(self.episodes - self.batch_size)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        self.update_normalisation(lived.seen)
        return {"loss": loss.item(), "gradient_norm": norm, "learning_rate": rate}

    def agent(self) -> Agent:
        """The agent after the last update."""
        return copy.deepcopy(self._agent).requires_grad_(False).eval()

    def _buffers(self) -> list[tuple[str, torch.Tensor]]:
        """What training changes besides parameters, such as running averages of a batch normalisation."""
        kept = self._agent.state_dict().keys()
        return [(name, value) for name, value in self._agent.named_buffers() if name in kept]

    def state_dict(self) -> dict[str, Any]:
        """Searched parameters, buffers, the optimizer's moments and the generator of the episodes."""
        return super().state_dict() | {
            "parameters": {name: value.detach().clone() for name, value in self._parameters.items()},
            "buffers": {name: value.clone() for name, value in self._buffers()},
            "optimizer": copy.deepcopy(self.optimizer.state_dict()["state"]),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; learning rate and schedule come from the constructor."""
        super().load_state_dict(state)
        load_values(self._parameters, state["parameters"])
        load_values(dict(self._buffers()), state["buffers"])
        load_moments(self.optimizer, state["optimizer"])
        self.generator.set_state(state["generator"])
