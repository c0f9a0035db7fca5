"""Claims of Cristian et al. 2020, "Learning with Plasticity Rules: Generalization and Robustness"."""
