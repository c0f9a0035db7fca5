"""The table of searchers; a library is imported only when one of its searchers is made."""

from plastic_envs.registry import Registry, Row

_EVOTORCH = "evolution.evotorch_search:EvoTorchSearcher"

SEARCHERS = Registry(
    "searcher",
    {
        "backprop": Row("evolution.backprop:Backprop", "Adam, AdamW or SGD through whole episodes"),
        "pgpe": Row(
            _EVOTORCH,
            "policy gradients with parameter-based exploration, ClipUp (Sehnke 2010; Toklu 2020)",
            {
                "algorithm": "PGPE",
                "popsize": 64,
                "stdev_init": 0.05,
                "center_learning_rate": 0.05,
                "stdev_learning_rate": 0.1,
            },
        ),
        "snes": Row(
            _EVOTORCH,
            "separable natural evolution strategy (Schaul 2011)",
            {"algorithm": "SNES", "popsize": 64, "stdev_init": 0.05},
        ),
        "xnes": Row(
            _EVOTORCH,
            "exponential natural evolution strategy, full covariance (Glasmachers 2010)",
            {"algorithm": "XNES", "popsize": 64, "stdev_init": 0.05},
        ),
        "cem": Row(
            _EVOTORCH,
            "cross-entropy method (Rubinstein 1999)",
            {"algorithm": "CEM", "popsize": 64, "stdev_init": 0.05, "parenthood_ratio": 0.25},
        ),
        "cmaes": Row(
            _EVOTORCH,
            "covariance matrix adaptation (Hansen 2016); separable=true keeps the diagonal only",
            {"algorithm": "CMAES", "popsize": 64, "stdev_init": 0.05},
        ),
        "ga": Row(
            _EVOTORCH,
            "genetic algorithm: Gaussian mutation, parents and children compete (Such 2017)",
            {"algorithm": "evolution.evotorch_search:genetic_algorithm", "popsize": 32, "stdev_init": 0.05},
        ),
    },
)
