"""The table of searchers; a library is imported only when one of its searchers is made."""

from plastic_envs.utils.registry import Registry, Row

_EVOTORCH = "evolution.searchers.evolutionary.evotorch_search:EvoTorchSearcher"

# Defaults by measurement, one seed each: the held-out metric after 200,000 episodes of a Hebbian RNN with 8 units on
# (a) CueReward,n_cues=2,n_stimulus=4,n_show=4,n_query=4 (508 parameters; zeros 0.331, shrunken mean 0.204) and
# (b) FewShotRegression,kind=linear,n_inputs=1,n_train=4,n_test=4 (460 parameters; zeros 0.869, ridge 0.063).
SEARCHERS = Registry(
    "searcher",
    {
        "backprop": Row("evolution.searchers.backprop:Backprop", "Adam, AdamW or SGD through whole episodes"),
        # a2c and ppo, not measured on these: as the papers and Stable-Baselines3 have them, but a2c's learning rate.
        "a2c": Row(
            "evolution.searchers.policy_gradient.a2c:A2C",
            "reward alone: advantage actor-critic through whole episodes (Mnih 2016; Miconi 2018)",
        ),
        "ppo": Row(
            "evolution.searchers.policy_gradient.ppo:PPO",
            "reward alone: proximal policy optimization through whole episodes (Schulman 2017)",
        ),
        # (a) 0.228, (b) 0.374. stdev_init 0.03: 0.219, 0.437; 0.1: 0.232, 0.383; 0.3: 0.262, 0.844.
        # episodes 4: 0.252, 0.264; 16: 0.247, 0.753.
        "pgpe": Row(
            _EVOTORCH,
            "policy gradients with parameter-based exploration, ClipUp (Sehnke 2010; Toklu 2020)",
            {
                "algorithm": "PGPE",
                "popsize": 64,
                "episodes": 8,
                "stdev_init": 0.05,
                "center_learning_rate": 0.1,
                "stdev_learning_rate": 0.1,
            },
        ),
        # (a) 0.223, (b) 0.415. stdev_init 0.1: 0.219, 0.830, as it shrinks before it has learnt.
        "snes": Row(
            _EVOTORCH,
            "separable natural evolution strategy (Schaul 2011)",
            {"algorithm": "SNES", "popsize": 64, "episodes": 8, "stdev_init": 0.3},
        ),
        # Not measured: as snes, whose full form it is.
        "xnes": Row(
            _EVOTORCH,
            "exponential natural evolution strategy, full covariance (Glasmachers 2010)",
            {"algorithm": "XNES", "popsize": 64, "episodes": 8, "stdev_init": 0.3},
        ),
        # (a) 0.211, (b) 0.824. stdev_init 0.2, parenthood_ratio 0.5: 0.232, 0.796.
        "cem": Row(
            _EVOTORCH,
            "cross-entropy method (Rubinstein 1999)",
            {"algorithm": "CEM", "popsize": 128, "episodes": 4, "stdev_init": 0.1, "parenthood_ratio": 0.25},
        ),
        # separable=true: (a) 0.224, (b) 0.624. popsize 64, stdev_init 0.1: 0.244, 0.792.
        "cmaes": Row(
            _EVOTORCH,
            "covariance matrix adaptation (Hansen 2016); separable=true keeps the diagonal only",
            {"algorithm": "CMAES", "popsize": 32, "episodes": 8, "stdev_init": 0.2},
        ),
        # (a) 0.220, (b) 0.838. mutation_stdev and stdev_init 0.05: 0.236, 0.818.
        "ga": Row(
            _EVOTORCH,
            "genetic algorithm: Gaussian mutation, parents and children compete (Such 2017)",
            {
                "algorithm": "evolution.searchers.evolutionary.evotorch_search:genetic_algorithm",
                "popsize": 32,
                "episodes": 8,
                "stdev_init": 0.1,
                "mutation_stdev": 0.02,
            },
        ),
        "species": Row(
            "evolution.searchers.evolutionary.species:SpeciesSearcher",
            "species of one world that evolve together (Potter 1994)",
        ),
        # theta 0.5: (a) 0.338, (b) 0.876, as weak selection has hardly begun by then: a generation moves the mean by
        # theta × variance × slope. theta 0.1: 0.337, 0.877; popsize 32, episodes 2, theta 0.3: 0.349, 0.870; stdev_init
        # 0.3 makes networks explode, with losses that selection refuses. So theta 0.2 leaves room for losses up to 5.
        "alleles": Row(
            _EVOTORCH,
            "population genetics: weak selection on the frequencies of many small genes (Cristian 2020)",
            {
                "algorithm": "evolution.searchers.evolutionary.alleles:Alleles",
                "popsize": 64,
                "episodes": 8,
                "stdev_init": 0.1,
                "theta": 0.2,
            },
        ),
    },
)

GRADIENT = ("backprop", "a2c", "ppo")
"""Those that follow gradients; reports hold them against the others, which evolve."""
