"""How far the errors that a feedback network sends back point away from backpropagation's."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from agents.networks.feedback.circuit import FeedbackCircuit
from agents.rollouts.rollout import Rollout
from plastic_envs.core.supervised import SupervisedTask
from plastic_envs.utils.errors import UsageError


def angle(first: Tensor, second: Tensor) -> Tensor:
    """The angle in degrees between vectors (..., n): (...); not a number where one of them is zero."""
    cosine = (normalize(first, dim=-1, eps=0) * normalize(second, dim=-1, eps=0)).sum(-1)
    return cosine.clamp(-1, 1).acos().rad2deg()


@torch.no_grad()
def query_angles(agent: FeedbackCircuit, task: SupervisedTask, lived: Rollout) -> Tensor:
    """Angles in degrees between errors and backpropagation's on the queries, with the weights at the end of lifetimes.

    Both errors are averaged over an episode's queries first, as Shervani-Tabar and Rosenbaum do it.

    Args:
        agent: The agent that lived.
        task: The task, which knows its `first_query`.
        lived: What `rollout` gave.

    Returns:
        (L − 1, B), a row for each hidden layer; a population's (L − 1, P, B).

    Raises:
        UsageError: the task has no queries at its end.
    """
    if task.first_query is None or lived.episode is None:
        raise UsageError(f"angles are measured on queries, of which {type(task).__name__} has none at its end")
    state = agent.close_state(lived.state)
    weights, feedback = state["weights"], state["feedback"] or state["weights"]
    queries = lived.episode.inputs[task.first_query :, :, : agent.features]
    targets = lived.episode.targets[task.first_query :]
    activity = features = queries.transpose(0, 1)  # (B, S, F)
    summed: list[Tensor] = []
    for layer, matrix in weights.items():
        summed.append(activity @ matrix)
        activity = agent.activity(layer, summed[-1])
    error = activity - one_hot(targets.transpose(0, 1), agent.output_size)  # (..., B, S, K)

    slopes = agent.slopes(features, summed)

    def errors(matrices: Mapping[str, Tensor]) -> list[Tensor]:
        return agent.errors_backward(error, slopes, lambda layer, error: error @ matrices[layer].transpose(-1, -2))

    sent, backpropagated = errors(feedback), errors(weights)
    means = [(ours.mean(-2), theirs.mean(-2)) for ours, theirs in zip(sent[:-1], backpropagated[:-1], strict=True)]
    return torch.stack([angle(ours, theirs) for ours, theirs in means])
