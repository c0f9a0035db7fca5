"""Learn a function from a few points: Duan et al. (linear, mlp), and the sinusoids of Finn et al. 2017 (MAML)."""

import math
from typing import Literal

import torch
from torch import Tensor

from plastic_envs.core.ridge import ridge
from plastic_envs.core.supervised import SupervisedTask, during
from plastic_envs.core.task import FARTHEST_NORMAL, Episode, layout
from plastic_envs.utils.checks import check_choice, check_float, check_int
from plastic_envs.utils.errors import UsageError

Kind = Literal["linear", "mlp", "sinusoid"]
DEFAULT_INPUTS: dict[Kind, int] = {"linear": 12, "mlp": 6, "sinusoid": 1}


class FewShotRegression(SupervisedTask):
    """Learn a random function from noisy points of it, and tell its values elsewhere.

    ## Description
    A function is drawn per episode. `n_train` steps show a point and the function's value there with N(0, `noise`)
    added; `n_test` steps show a point alone. The target is always the value without noise.
    * `kind="linear"`: weights and bias as PyTorch initialises `nn.Linear`, points from U(-1, 1).
    * `kind="mlp"`: one hidden layer of `n_hidden` tanh units, initialised alike, points from U(-1, 1).
    * `kind="sinusoid"`: amplitude · sin(x - phase) with U(`min_amplitude`, `max_amplitude`), U(0, `max_phase`) and x
      from U(-5, 5); the standard few-shot benchmark (Finn et al. 2017, section 5.1).

    The values of "linear" and "mlp" are shifted and scaled, before the noise, to mean 0 and (unbiased) standard
    deviation 1 over all points of the episode.

    ## Observation Space
    `n_inputs` + 2 numbers: `x` (the point), `y` (its noisy value; 0 in test steps), `train` (1 in training steps).

    ## Action Space
    `Box(-b, b, (1,))`: the function's value. No value is larger than b: `max_amplitude`, or (n-1)/√n for n points
    with mean 0 and standard deviation 1.

    ## Rewards
    Minus the squared error on the steps of the loss, 0 on others. The metric is the squared error of the test steps.

    ## Arguments
    * `kind` ("linear"), `n_train` (20), `n_test` (20), `noise` (0.1): see above.
    * `n_inputs`: 12 for "linear", 6 for "mlp", 1 (and no other) for "sinusoid".
    * `loss_steps` ("all"): the loss takes "all" steps, as Duan et al. do, or the "test" steps alone.
    * `n_hidden` (2): of "mlp". `min_amplitude` (0.1), `max_amplitude` (5), `max_phase` (π): of "sinusoid".
    """

    def __init__(
        self,
        kind: Kind = "linear",
        n_inputs: int | None = None,
        n_train: int = 20,
        n_test: int = 20,
        noise: float = 0.1,
        loss_steps: Literal["all", "test"] = "all",
        n_hidden: int = 2,
        min_amplitude: float = 0.1,
        max_amplitude: float = 5.0,
        max_phase: float = math.pi,
    ) -> None:
        self.kind: Kind = check_choice("kind", kind, ("linear", "mlp", "sinusoid"))
        self.n_inputs = check_int("n_inputs", DEFAULT_INPUTS[kind] if n_inputs is None else n_inputs, 1)
        if kind == "sinusoid" and self.n_inputs != 1:
            raise UsageError(f"n_inputs must be 1 for kind 'sinusoid', not {n_inputs}")
        self.n_train = check_int("n_train", n_train, 1)
        self.n_test = check_int("n_test", n_test, 1)
        self.noise = check_float("noise", noise, 0.0)
        self.loss_steps = check_choice("loss_steps", loss_steps, ("all", "test"))
        self.n_hidden = check_int("n_hidden", n_hidden, 1)
        self.min_amplitude = check_float("min_amplitude", min_amplitude, 0.0)
        self.max_amplitude = check_float("max_amplitude", max_amplitude, self.min_amplitude)
        self.max_phase = check_float("max_phase", max_phase, 0.0)
        self.horizon = n_points = n_train + n_test
        self.slices = layout({"x": self.n_inputs, "y": 1, "train": 1}, feedback=["y"])
        self.output_size = 1
        if kind == "sinusoid":
            low, high = self.min_amplitude, self.max_amplitude
            self.action_bound = high
            # E[A²] E[sin²(x - phase)], which is a half of E[A²] if the phases fill half a period.
            self.chance = (low * low + low * high + high * high) / 6 if max_phase == math.pi else math.nan
        else:
            self.action_bound = (n_points - 1) / math.sqrt(n_points)
            self.chance = (n_points - 1) / n_points
        self.x_bound = 5.0 if kind == "sinusoid" else 1.0
        self.observation_bound = max(self.x_bound, self.action_bound + FARTHEST_NORMAL * noise)
        self.best = 0.0
        self.references = {"zero": self.zeros, "ridge": self.ridge}
        self.oracle = self.truth

    def sample(self, batch_size: int, generator: torch.Generator) -> Episode:
        """Draw episodes; nothing is hidden but the targets."""
        device = generator.device
        x = _uniform((self.horizon, batch_size, self.n_inputs), -self.x_bound, self.x_bound, generator)
        draw = {"linear": self._linear, "mlp": self._mlp, "sinusoid": self._sinusoid}[self.kind]
        y = draw(x, generator)  # (T, B)
        if self.kind != "sinusoid":
            y = (y - y.mean(0)) / y.std(0)
        train = torch.arange(self.horizon, device=device) < self.n_train  # (T,)
        noise = torch.randn(self.horizon, batch_size, generator=generator, device=device)
        shown = (y + self.noise * noise) * train.unsqueeze(1)  # (T, B)
        flag = train.unsqueeze(1).expand(-1, batch_size)
        loss_steps = ~train if self.loss_steps == "test" else torch.ones_like(train)
        inputs = torch.cat([x, shown.unsqueeze(-1), flag.unsqueeze(-1)], -1)  # (T, B, n_inputs + 2)
        masks = during(loss_steps, batch_size), during(~train, batch_size)
        return Episode(inputs, y.unsqueeze(-1), *masks, {})

    def _linear(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return _random_layer(x, 1, generator).squeeze(-1)

    def _mlp(self, x: Tensor, generator: torch.Generator) -> Tensor:
        hidden = _random_layer(x, self.n_hidden, generator).tanh()
        return _random_layer(hidden, 1, generator).squeeze(-1)

    def _sinusoid(self, x: Tensor, generator: torch.Generator) -> Tensor:
        amplitude = _uniform(x.shape[1:2], self.min_amplitude, self.max_amplitude, generator)
        phase = _uniform(x.shape[1:2], 0.0, self.max_phase, generator)
        return amplitude * torch.sin(x.squeeze(-1) - phase)

    def ridge(self, episode: Episode, penalty: float = 0.1) -> Tensor:
        """Echo, then answer from a ridge regression (with bias, penalised too) on the episode's training steps."""
        answers = episode.inputs[..., -2:-1].clone()
        x = episode.inputs[..., : self.n_inputs].transpose(0, 1)  # (B, T, n)
        y = answers[: self.n_train].transpose(0, 1)  # (B, n_train, 1)
        answers[self.n_train :] = ridge(x[:, : self.n_train], y, x[:, self.n_train :], penalty).transpose(0, 1)
        return answers

    def truth(self, episode: Episode) -> Tensor:
        """The oracle: it knows the function."""
        return episode.targets


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    """Numbers from U(low, high)."""
    return torch.rand(shape, generator=generator, device=generator.device) * (high - low) + low


def _random_layer(x: Tensor, n_outputs: int, generator: torch.Generator) -> Tensor:
    """A linear map of x (T, B, n) → (T, B, n_outputs), one per episode, drawn as `nn.Linear` initialises itself."""
    batch_size, n_inputs = x.shape[1:]
    bound = 1 / math.sqrt(n_inputs)
    weight = _uniform((batch_size, n_inputs, n_outputs), -bound, bound, generator)
    bias = _uniform((batch_size, n_outputs), -bound, bound, generator)
    return torch.einsum("tbi,bio->tbo", x, weight) + bias
