"""What happens when, drawn ahead for a batch of episodes (T, B, ...), and the time that each of them has reached."""

import torch
from torch import Tensor


def at_time(part: Tensor, time: int | Tensor) -> Tensor:
    """The rows (B, ...) of `part` (T, B, ...) at a common time or at each episode's own; zeros beyond the last."""
    if isinstance(time, int):
        return part[time] if time < len(part) else torch.zeros_like(part[0])
    within = time.clamp(max=len(part) - 1)
    rows = part[within, torch.arange(part.shape[1], device=part.device)]
    beyond = (time >= len(part)).view(-1, *[1] * (rows.dim() - 1))
    return rows.masked_fill(beyond, 0)


def replace_time(time: int | Tensor, mask: Tensor, fresh: int | Tensor) -> Tensor:
    """The times (B,) with those of the episodes in `mask` (B,) replaced by `fresh`, in order; ints are for all."""
    old = torch.as_tensor(time, device=mask.device).expand(mask.shape)
    new = torch.as_tensor(fresh, device=mask.device).expand(int(mask.sum()))
    return old.masked_scatter(mask, new)
