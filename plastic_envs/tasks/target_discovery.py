"""Find out which cue is the target: Miconi et al., "Backpropamine" (ICLR 2019), task 1, cue-reward association."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from plastic_envs.core.draws import draw_distinct
from plastic_envs.core.schedule import at_time, replace_time
from plastic_envs.core.task import Metric, Step, Task, Trajectory, layout, replace_rows
from plastic_envs.utils.checks import check_int
from plastic_envs.utils.errors import UsageError

FRAME = 3
"""Steps of a trial that show no cue: the first, the go signal and the last."""
NOTHING = -1
"""Stands for the right answer on steps that ask for none."""


class DiscoveryState(NamedTuple):
    """Where a batch of episodes stands."""

    inputs: Tensor  # (T, B, D) observations, but for the last reward and action
    answers: Tensor  # (T, B) 1 if the target was shown in the trial, else 0; NOTHING between go signals
    time: int | Tensor  # the step that all episodes have reached, or (B,)


class OracleMemory(NamedTuple):
    """What the oracle remembers of each episode: n cues of which some may not have been seen yet."""

    cues: Tensor  # (B, n, n_bits) in the order in which they came, then zeros
    possible: Tensor  # (B, n) bool, which may be the target
    shown: Tensor  # (B, n) bool, which were seen in this trial
    asked: Tensor  # (B,) bool, whether the last step was a go signal


class TargetDiscovery(Task):
    """Find out by trial and error which of some cues is the target, and say in each trial whether it was shown.

    ## Description
    An episode has `n_cues` different cues from {-1, 1}^`n_bits`; one is the target. Trials follow one another until the
    `length` steps are over, which cuts the last one off. A trial is a blank step, then `n_shown` different cues, once
    each, in random order among 0 to `max_blanks` blank steps, then the go signal alone, then a blank step. The action
    in the step of the go signal is the answer; others have no effect. Between trials nothing is forgotten.

    ## Observation Space
    `n_bits` + 7 numbers: `cue` (zeros if blank), `go`, `bias` (1), `time` (steps taken over `length`), `reward` (of the
    last step), `unused` (0), `action` (the last one, one-hot; zeros at the start).

    ## Action Space
    `Discrete(2)`: 1 for "the target was shown in this trial", 0 for "it was not".

    ## Rewards
    1 for a right answer and -1 for a wrong one, else 0. The metric is the fraction of right answers; `by_trial` gives
    it by the number of the trial.

    ## Policies
    `chance` answers at random. `oracle` remembers the cues and leaves those in question that agree with all rewards; it
    answers with the likelier half of them. Of 4 cues with 2 a trial it errs once an episode on average.

    ## Arguments
    * `n_cues` (4), `n_bits` (20), `n_shown` (2), `max_blanks` (3), `length` (120): see above.
    """

    output_size = 2
    action_kind: Literal["box", "discrete"] = "discrete"
    metric_kind: Metric = "accuracy"

    def __init__(
        self, n_cues: int = 4, n_bits: int = 20, n_shown: int = 2, max_blanks: int = 3, length: int = 120
    ) -> None:
        self.n_cues = check_int("n_cues", n_cues, 2)
        self.n_bits = check_int("n_bits", n_bits, (n_cues - 1).bit_length(), 52)  # enough for so many different cues
        self.n_shown = check_int("n_shown", n_shown, 1, n_cues - 1)
        self.max_blanks = check_int("max_blanks", max_blanks, 0)
        longest = FRAME + n_shown + max_blanks
        self.horizon = self.length = check_int("length", length, 1)
        if length < longest:
            raise UsageError(f"length must be at least {longest}, so that the first trial fits, not {length}")
        self.slices = layout({"cue": n_bits, "go": 1, "bias": 1, "time": 1, "reward": 1, "unused": 1, "action": 2})
        self.observation_bound = 1.0
        self.policies = {"chance": self.uniform, "oracle": self.ideal_observer}

    def reset(self, batch_size: int, generator: torch.Generator) -> tuple[DiscoveryState, Tensor]:
        """Draw cues, target and all trials."""
        device, n_shown, steps = generator.device, self.n_shown, self.horizon
        shortest, longest = FRAME + n_shown, FRAME + n_shown + self.max_blanks
        trials = (-(-steps // shortest), batch_size)  # (K, B): as many as fit if all are short
        codes = draw_distinct(torch.full((batch_size,), 2**self.n_bits, device=device), self.n_cues, generator)
        bits = codes.unsqueeze(-1) >> torch.arange(self.n_bits, device=device) & 1  # (n, B, n_bits)
        cues = torch.cat([2.0 * bits - 1, torch.zeros(1, *bits.shape[1:], device=device)])  # the last is a blank
        target = torch.randint(self.n_cues, (batch_size,), generator=generator, device=device)
        lengths = torch.randint(shortest, longest + 1, trials, generator=generator, device=device)
        starts = lengths.cumsum(0) - lengths
        places = draw_distinct(lengths - FRAME, n_shown, generator)  # (n_shown, K, B)
        shown = draw_distinct(torch.full_like(lengths, self.n_cues), n_shown, generator)  # (n_shown, K, B)
        cue = torch.full((trials[0] * longest, batch_size), self.n_cues, device=device)
        cue.scatter_(0, (starts + 1 + places).flatten(0, 1), shown.flatten(0, 1))
        answers = torch.full_like(cue, NOTHING)
        answers.scatter_(0, starts + lengths - 2, (shown == target).any(0).long())
        cue, answers = cue[:steps], answers[:steps].clone()
        inputs = torch.zeros(steps, batch_size, self.observation_size, device=device)
        inputs[..., self.slices["cue"].columns] = cues[cue, torch.arange(batch_size, device=device)]
        inputs[..., self.slices["go"].start] = (answers != NOTHING).float()
        inputs[..., self.slices["bias"].start] = 1
        inputs[..., self.slices["time"].start] = torch.arange(steps, device=device).unsqueeze(1) / steps
        return DiscoveryState(inputs, answers, 0), inputs[0]

    def step(self, state: DiscoveryState, action: Tensor) -> Step:
        """Pay for answers to the go signal: (..., B) numbers, 1 for "shown"."""
        inputs, answers, time = state
        answer = at_time(answers, time)  # (B,)
        asked = answer != NOTHING
        right = action == answer  # (..., B)
        reward = torch.where(asked, 2.0 * right - 1, 0.0)
        time = time + 1
        seen = at_time(inputs, time)[:, : self.slices["reward"].start].expand(*action.shape, -1)
        taken = action.unsqueeze(-1) == torch.arange(self.output_size, device=action.device)  # (..., B, 2)
        paid = reward.unsqueeze(-1)
        observation = torch.cat([seen, paid, torch.zeros_like(paid), taken.float()], -1)
        terminated = torch.ones_like(asked) & (time >= self.horizon)
        if not isinstance(time, int) or time >= self.horizon:
            observation = observation.masked_fill(terminated.unsqueeze(-1), 0)
        return Step(DiscoveryState(inputs, answers, time), observation, reward, terminated, right.float(), asked)

    def replace(self, state: DiscoveryState, mask: Tensor, fresh: DiscoveryState) -> DiscoveryState:
        """The state with the episodes of `mask` (B,) replaced by those of the state `fresh`, in order."""
        inputs, answers = replace_rows(state[:2], mask, fresh[:2], dim=1)
        return DiscoveryState(inputs, answers, replace_time(state.time, mask, fresh.time))

    def by_trial(self, trajectory: Trajectory) -> Tensor:
        """The fraction of right answers in the first, second … trial, over the episodes that came so far: (K,).

        Args:
            trajectory: from `rollout` (its `trajectory`) or `plastic_envs.play`, of one agent: (T, B) each.
        """
        number = (trajectory.metric_mask.cumsum(0) - 1)[trajectory.metric_mask]  # of each answer given
        return number.bincount(weights=trajectory.metric[trajectory.metric_mask].double()) / number.bincount()

    def ideal_observer(
        self, observation: Tensor, memory: OracleMemory | None, state: DiscoveryState, generator: torch.Generator
    ) -> tuple[Tensor, OracleMemory]:
        """The oracle: it uses nothing that is hidden, and no agent can do better; where all is even it says 0."""
        cue, go, reward, action = (
            observation[:, self.slices[name].columns] for name in ("cue", "go", "reward", "action")
        )
        if memory is None:
            nothing = torch.zeros(len(cue), self.n_cues, dtype=torch.bool, device=cue.device)
            memory = OracleMemory(cue.new_zeros(len(cue), self.n_cues, self.n_bits), ~nothing, nothing, nothing[:, 0])
        cues, possible, shown, asked = memory
        present = (action[:, 1:] > 0) == (reward > 0)  # (B, 1) what the reward says of the trial that was asked for
        after = asked.unsqueeze(1)
        possible = possible & ((shown == present) | ~after)
        shown = shown & ~after
        known = (cues == cue.unsqueeze(1)).all(-1)  # (B, n)
        seen = cues.any(-1)
        first_free = ~seen & (seen.sum(1, keepdim=True) == torch.arange(self.n_cues, device=cue.device))
        here = torch.where(known.any(1, keepdim=True), known, first_free) & cue.any(1, keepdim=True)
        cues = torch.where(here.unsqueeze(-1), cue.unsqueeze(1), cues)
        shown = shown | here
        answer = (possible & shown).sum(1) > (possible & ~shown).sum(1)
        return answer.long(), OracleMemory(cues, possible, shown, go.squeeze(1) > 0)

    def draw(self, figure: Any, state: DiscoveryState, index: int, actions: Sequence[Tensor]) -> None:
        """Draw the cues so far, above them the trials' go signals, below them the answers, right or wrong."""
        upto = min(len(actions) + 1, self.horizon)
        inputs, answers = (part[:upto, index].numpy(force=True) for part in (state.inputs, state.answers))
        go = np.flatnonzero(answers != NOTHING)
        given = go[go < len(actions)]
        said = np.array([int(actions[step]) for step in given], np.int64)
        right = said == answers[given]
        cues = figure.add_axes((0.16, 0.45, 0.81, 0.43), ylabel="cue")
        extent = (-0.5, upto - 0.5, 0, self.n_bits)
        strip = inputs[:, self.slices["cue"].columns].T
        cues.imshow(strip, cmap="RdBu_r", vmin=-1, vmax=1, extent=extent, aspect="auto", interpolation="nearest")
        axes = figure.add_axes(
            (0.16, 0.12, 0.81, 0.28), xlabel="step", yticks=[0, 1], yticklabels=["not shown", "shown"]
        )
        axes.scatter(go, answers[go], 60, facecolors="none", edgecolors="black", label="right answer")
        axes.scatter(given, said, 20, color=np.where(right, "tab:green", "tab:red"), label="answer")
        axes.set_ylim(-0.5, 1.5)
        for one in (cues, axes):
            one.set_xlim(-0.5, self.horizon - 0.5)
            for step in go:
                one.axvline(step, color="tab:orange", linewidth=0.8, zorder=0)
        cues.tick_params(left=False, labelleft=False, labelbottom=False)
        title = f"TargetDiscovery · step {len(actions)}/{self.horizon}"
        figure.text(0.16, 0.93, f"{title} · {right.sum()} of {len(given)} right" if len(given) else title, va="center")
        figure.legend(loc="upper right", ncols=2, fontsize=9, frameon=False)
