"""`python -m tests.golden.equations`: write the traces again."""

import numpy as np

from tests.golden.equations import FOLDER, TRACES, make

for name in TRACES:
    np.savez_compressed(FOLDER / f"{name}.npz", **make(name))
