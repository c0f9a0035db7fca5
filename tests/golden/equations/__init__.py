"""Traces of the options that no recorded trace has, by the programs' equations in plain NumPy.

`python -m tests.golden.equations` writes the files here again. Nothing of our agents is used.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from tests.golden.equations.brainnet import brainnet_forward, brainnet_online, closed_form
from tests.golden.equations.duan import duan
from tests.golden.equations.miconi import completion, head, maze
from tests.golden.equations.najarro import najarro
from tests.golden.equations.numerics import Arrays
from tests.golden.equations.shervani import shervani

FOLDER = Path(__file__).parent

EVERY: Arrays = {"misclassified": False, "all_edges": True}
BOTH: Arrays = {"misclassified": False, "all_edges": False}
WRONG: Arrays = {"misclassified": True, "all_edges": False}
TRACES: dict[str, Callable[[], Arrays]] = {
    "brainnet_forward_no_cap": partial(brainnet_forward, -1, 2, 1),
    "brainnet_forward_all_kept": partial(brainnet_forward, 7, 1, 2),
    "brainnet_online_multiplicative_reset_twice": partial(
        brainnet_online, seed=3, additive=False, **WRONG, start="reset", epochs=2
    ),
    "brainnet_online_multiplicative_squared": partial(brainnet_online, seed=4, additive=False, **EVERY, squared=True),
    "brainnet_online_multiplicative_no_cap": partial(
        brainnet_online, seed=5, additive=False, **BOTH, cap=-1, graph_rule=False
    ),
    "brainnet_online_no_cap_twice": partial(
        brainnet_online, seed=6, additive=True, **BOTH, cap=-1, epochs=2, squared=True
    ),
    "brainnet_online_output_rule_twice": partial(
        brainnet_online, seed=7, additive=True, **WRONG, graph_rule=False, epochs=2
    ),
    "brainnet_online_graph_rule_no_rounds": partial(brainnet_online, seed=8, additive=True, **EVERY, rounds=0),
    "brainnet_closedform_step_of_a_hundredth": partial(closed_form, 0.01, np.nan),
    "brainnet_closedform_many_solutions_none": partial(closed_form, 1.0, np.nan),
    "brainnet_closedform_many_solutions_one": partial(closed_form, 1.0, 0.7),
    "duan_hebbian_rnn_weight_clip": partial(duan, "hebbian", "RNN", 1, weight_clip_nan_means_none=0.25),
    "duan_gradient_lstm_weight_clip_norm": partial(
        duan, "gradient", "LSTM", 2, weight_clip_nan_means_none=0.1, layernorm=True
    ),
    "duan_hebbian_lstm_norm_unmodulated": partial(duan, "hebbian", "LSTM", 3, layernorm=True, modulation=False),
    "duan_gradient_rnn_norm_uniform": partial(duan, "gradient", "RNN", 4, layernorm=True, inner_lr_mode="uniform"),
    "duan_gradient_rnn_unmodulated_bare": partial(
        duan, "gradient", "RNN", 5, modulation=False, extra_dim=0, inner_lr_mode="neg_uniform"
    ),
    "duan_hebbian_rnn_rates_of_one": partial(duan, "hebbian", "RNN", 6, inner_lr_mode="none", extra_dim=0),
    "shervani_fix_ehebb": partial(shervani, "fix", ["eHebb", "pseudo_gradient"], 1, sizes=[4, 3, 3], beta=5.0, l1=0.02),
    "shervani_sym_oja": partial(shervani, "sym", ["pseudo_gradient", "Oja"], 2, sizes=[4, 3, 3, 4], beta=10.0, l1=0.0),
    "miconi_simple_half_boost": partial(completion, 1, clamped=False, boost=0.5),
    "miconi_images_shared": partial(completion, 2, clamped=True, shared=True),
    "miconi_maze_modplast_sig": partial(maze, "modplast", 0, "sig", 3),
    "miconi_maze_modplast_lin": partial(maze, "modplast", 2, "lin", 4),
    "miconi_maze_modul_lin_repaired": partial(maze, "modul", 0, "lin", 5),
    "miconi_maze_modul_sig": partial(maze, "modul", 2, "sig", 6),
    "miconi_simplemaze_narrow": partial(maze, "modplast", 1, "tanh", 7, limit=0.5),
    "miconi_omniglot_head_relu_yoked": partial(head, "hebb", "relu", "yoked", 1, 2.0, 8),
    "miconi_omniglot_head_selu": partial(head, "oja", "selu", "free", 1, 1.0, 9),
    "najarro_ABCD_lr_co_evolved": partial(najarro, "ABCD_lr", 1, bullet=True, init="coevolve"),
    "najarro_ABCD_lr_D_out_limited": partial(najarro, "ABCD_lr_D_out", 2, bullet=False, init="normal", bound=0.3),
    "najarro_AD_lr_unlimited": partial(najarro, "AD_lr", 3, bullet=False, init="xa_uni"),
    "najarro_ABCD_lr_D_in_and_out_discrete": partial(najarro, "ABCD_lr_D_in_and_out", 4, bullet=False, discrete=True),
}
"""What makes each trace, by the name of its file without its ending."""


def make(name: str) -> dict[str, np.ndarray]:
    """The arrays of a trace, all of them real."""
    return {
        key: np.real(value) if np.iscomplexobj(value) else np.asarray(value) for key, value in TRACES[name]().items()
    }
