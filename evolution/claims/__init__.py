"""What papers claim, run anew: one command or call per claim, which says whether it holds here.

    plastic-envs claim 3                # or evolution.claim("3"): quick, within minutes
    plastic-envs claim 3 --full         # larger, or the paper's sizes
    plastic-envs claim                  # lists the claims

A claim is a function from `ClaimSettings` to a `Finding`, in a file of its own in this package, and a row in `CLAIMS`.
It draws all that is random from `make_generator(settings.seed, …)`, so that equal settings give equal figures, works on
batched tensors, and decides `holds` by a criterion that its docstring states and that was fixed before it was run:
a claim that does not hold is reported so, with its figures. `claim` does the rest: the folder, the files and the text.
One that trains agents of several kinds does so by a `Contest`, for `--jobs` and `--resume`. One of your own goes by
`module:Name`.
"""

from evolution.claims.finding import ClaimSettings, Finding
from evolution.claims.learners import Contest
from evolution.claims.running import claim
from evolution.claims.table import CLAIMS
from evolution.claims.trainings import Learner

__all__ = ["CLAIMS", "ClaimSettings", "Contest", "Finding", "Learner", "claim"]
