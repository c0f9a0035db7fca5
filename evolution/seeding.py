"""One root seed, named random streams: what one part draws never moves what another part draws."""

import hashlib

import torch


def derive_seed(root: int, stream: str) -> int:
    """Seed of a named stream ("agent", "task", "searcher", "evaluation"), the same in every process: 0 to 2³² − 1."""
    return int.from_bytes(hashlib.sha256(f"{stream}:{root}".encode()).digest()[:4], "big")


def make_generator(root: int, stream: str) -> torch.Generator:
    """A generator of a named stream."""
    return torch.Generator().manual_seed(derive_seed(root, stream))
