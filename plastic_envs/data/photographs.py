"""Patches of the two photographs that scikit-learn ships."""

from functools import lru_cache

import torch

from plastic_envs.data.labelled import LabelledData
from plastic_envs.data.pictures import pillow

SIZE, STRIDE = 32, 8


@lru_cache(maxsize=1)
def photographs() -> LabelledData:
    """Grey patches of 32×32 pixels, one every 8 pixels: 3,850 of a building to train on and of a flower to test.

    Raises:
        MissingExtraError: Pillow is absent.
    """
    from sklearn.datasets import load_sample_images

    pillow()  # scikit-learn needs it for this
    patches = []
    for photograph in load_sample_images().images:
        grey = torch.from_numpy(photograph.copy()).float().mean(-1)  # (427, 640)
        windows = grey.unfold(0, SIZE, STRIDE).unfold(1, SIZE, STRIDE)  # (rows, columns, 32, 32)
        patches.append(windows.reshape(-1, SIZE, SIZE).round().to(torch.uint8))
    labels = torch.arange(2).repeat_interleave(len(patches[0]))
    return LabelledData(torch.cat(patches), labels, test=labels == 1)
