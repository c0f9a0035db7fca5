"""The table of claims: a row each, with the function that tries it and what it says."""

from plastic_envs.utils.registry import Registry, Row

CLAIMS = Registry(
    "claim",
    {
        "1": Row(
            "evolution.claims.cristian.sign_pattern:sign_pattern",
            "gradient descent on an output rule ends at the signs [−,+;+,−] from any start (Cristian, theorem 1)",
        ),
        "2": Row(
            "evolution.claims.cristian.convexity:convexity",
            "cross-entropy is convex in the output rule if every example is learned from (Cristian, theorem 2)",
        ),
        "2b": Row(
            "evolution.claims.cristian.best_rule:best_rule",
            "the output rule that is best for the squared error solves a 4×4 linear system (Cristian, appendix B)",
        ),
        "3": Row(
            "evolution.claims.cristian.separation:separation",
            "the output rule [−a,a;b,−b] separates separable ±1 data within 2b²n/(a²γ²) updates (Cristian, theorem 3)",
        ),
        "3b": Row(
            "evolution.claims.cristian.near_threshold:near_threshold",
            "with updates near the threshold too, mistakes are O(b²/a²·(R²+D²+2γ)/γ²) (Cristian, theorem 4)",
        ),
        "4": Row(
            "evolution.claims.cristian.special_cases:special_cases",
            "the perceptron and Winnow are output rules with one output neuron (Cristian, table 1)",
        ),
        "5": Row(
            "evolution.claims.cristian.learning_speed:learning_speed",
            "an output rule needs fewer examples than Adam on the output weights (Cristian, figure 2)",
        ),
        "6": Row(
            "evolution.claims.cristian.generalization:generalization",
            "rules learned on simple data train other networks on other data (Cristian, figure 3)",
        ),
        "7": Row(
            "evolution.claims.cristian.robustness:robustness",
            "networks trained by rules resist attacks better than by gradients (Cristian, figure 5, table 2)",
        ),
        "8": Row(
            "evolution.claims.cristian.schemes:schemes",
            "learning from every example, or on all edges, does as well; both together fall behind (Cristian, A.4)",
        ),
        "9": Row(
            "evolution.claims.cristian.allele_flow:allele_flow",
            "selection on allele frequencies follows gradient descent (Cristian, appendix C)",
        ),
        "11": Row(
            "evolution.claims.duan.one_shot:networks",
            "plastic networks learn one-shot image classification end to end (Duan)",
        ),
        "12": Row(
            "evolution.claims.duan.internal_rate:internal_rate",
            "the learning rate that networks set themselves differs between storing and recalling (Duan)",
        ),
        "13": Row(
            "evolution.claims.rosenbaum.random_feedback:random_feedback",
            "a pool of local terms makes up for random feedback (Shervani-Tabar and Rosenbaum)",
        ),
        "14": Row(
            "evolution.claims.rosenbaum.foraging:foraging",
            "learning rules evolve, without gradients, among many agents (Rosenbaum)",
        ),
        "15": Row(
            "evolution.claims.miconi.pattern_memory:pattern_memory",
            "plastic networks store and complete patterns, where others hardly learn to (Miconi)",
        ),
        "16": Row(
            "evolution.claims.miconi.image_memory:image_memory",
            "plastic networks complete natural images never seen in training (Miconi)",
        ),
        "17": Row(
            "evolution.claims.duan.one_shot:head",
            "a plastic last layer classifies new characters after one look at each (Miconi)",
        ),
        "18": Row(
            "evolution.claims.miconi.maze:maze",
            "plastic networks earn more in a maze than others, modulated ones at least as much (Miconi)",
        ),
        "19": Row(
            "evolution.claims.najarro.lifetime_control:lifetime_control",
            "evolved ABCD rules solve control tasks from random weights, also in changed worlds (Najarro)",
        ),
    },
)
