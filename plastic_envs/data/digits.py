"""The handwritten digits that scikit-learn ships."""

from functools import lru_cache

import torch

from plastic_envs.data.labelled import LabelledData, Split

# A half turn leaves 0, 1 and 8 as they are and swaps 6 and 9, which are therefore in one split.
DIGIT_SPLITS: dict[Split, tuple[int, ...]] = {"train": (0, 1, 5, 6, 7, 9), "validation": (2, 8), "test": (3, 4)}


@lru_cache(maxsize=1)
def digits() -> LabelledData:
    """1,797 images 8×8 (Alpaydin and Kaynak, UCI), of which 1,438 are for training and 359, a fifth of each digit."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).float() / 16
    labels = torch.from_numpy(bunch.target)
    return LabelledData(images, labels, splits=DIGIT_SPLITS, half_turned=(0, 1, 6, 8, 9))
