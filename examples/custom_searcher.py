"""A searcher of your own: a hill climber, the (1+1) evolution strategy.

Use it without touching the package:
plastic-envs train CueReward --searcher examples.custom_searcher:HillClimber,sigma=0.02 --budget 100000 --out runs/climb
"""

from typing import Any

import torch

from agents import Agent, rollout
from evolution import Searcher, make_generator, with_parameters
from plastic_envs import Task


class HillClimber(Searcher):
    """Mutates the agent and keeps the mutant if it loses less on the same episodes."""

    def __init__(self, task: Task, agent: Agent, *, sigma: float = 0.02, batch_size: int = 64, **common: Any) -> None:
        super().__init__(task, agent, **common)
        self.sigma, self.batch_size = sigma, batch_size
        self.generator = make_generator(self.seed, "task")
        parameters = dict(self._agent.named_parameters())
        self.best = {name: parameters[name].detach().clone() for name in self.searched}

    def step(self) -> dict[str, float]:
        """Let parent and mutant live through the same episodes, as a population of two."""
        noise = {name: torch.randn(value.shape, generator=self.generator) for name, value in self.best.items()}
        both = {name: torch.stack([value, value + self.sigma * noise[name]]) for name, value in self.best.items()}
        with torch.no_grad():
            lived = rollout(self._agent, self.task, self.batch_size, self.generator, parameters=both)
        self.ledger.count(2 * self.batch_size, env_steps=lived.env_steps)
        self.update_normalisation(lived.seen)  # of tasks whose observations are normalised
        parent, mutant = lived.loss.mean(-1)  # (2, B) → (2,)
        if mutant < parent:
            self.best = {name: value[1] for name, value in both.items()}
        return {"loss": lived.loss.mean().item()}

    def agent(self) -> Agent:
        """The agent that the climb stands at."""
        return with_parameters(self._agent, self.best)

    def state_dict(self) -> dict[str, Any]:
        """All that decides the next steps, so that a killed run goes on as if it had not been."""
        return super().state_dict() | {"best": self.best, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        super().load_state_dict(state)
        self.best = state["best"]
        self.generator.set_state(state["generator"])
