"""Claims of Miconi et al. 2018 and 2019 on differentiable plasticity and neuromodulation."""
