"""Claims of Duan et al. 2023 on one-shot learning by plasticity."""
