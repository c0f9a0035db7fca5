"""Checkpoints that hold nothing but numbers."""

import io
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plastic_envs.utils.errors import UsageError
from plastic_envs.utils.reading import check_entries, read_bytes
from plastic_envs.utils.writing import write_atomically

DEEPEST = 100
"""How deeply things are nested in a state, at most."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write nested dicts and lists of tensors, numbers and strings.

    Raises:
        UsageError: there is anything else in `state`, which `load_checkpoint` would refuse; or it cannot be written.
    """
    if not _is_plain(state):
        raise UsageError(f"cannot save {path}: a state_dict must hold tensors, numbers and strings only")
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote; no code from the file is run.

    Raises:
        UsageError: the file cannot be read, is damaged, or holds anything but tensors, numbers and strings.
    """
    data = read_bytes(path, blowup=3)
    check_entries(path, data)
    try:
        # torch does not look at the checksums of the records; zipfile does.
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if any(item.compress_type != zipfile.ZIP_STORED for item in archive.infolist()):
                raise ValueError("its records are compressed")
            bad = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError) as error:
        raise UsageError(f"{path} is damaged: {error}") from error
    if bad is not None:
        raise UsageError(f"{path} is damaged: {bad} does not match its checksum")
    foreign = f"{path} holds something other than tensors, numbers and strings, so it was not loaded"
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(foreign) from error
    except Exception as error:  # torch raises many kinds; each means that the file is not whole
        raise UsageError(f"{path} is damaged: {str(error).splitlines()[0]}") from error
    if not isinstance(state, dict) or not _is_plain(state, len(data)):
        raise UsageError(foreign)
    return state


def _is_plain(state: Any, most: float = math.inf) -> bool:
    """Whether there is nothing else in it, in no more places than `most`, and no deeper than can be walked."""
    waiting, count = [(state, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if count > most or depth > DEEPEST:
            return False
        if type(value) is dict:
            if not all(type(key) in (str, int) for key in value):
                return False
            waiting.extend((item, depth + 1) for item in value.values())
        elif type(value) in (list, tuple):
            waiting.extend((item, depth + 1) for item in value)
        elif type(value) not in (Tensor, bool, int, float, str, type(None)):
            return False
    return True


def same_state(a: Any, b: Any) -> bool:
    """Whether two states are equal in every key, type and bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_state(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same_state, a, b))
    if isinstance(a, Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and _bytes(a).equal(_bytes(b))
    return bool(a == b) or (a != a and b != b)


def _bytes(value: Tensor) -> Tensor:
    return value.reshape(-1).contiguous().view(torch.uint8)
