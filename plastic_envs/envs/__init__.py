"""Any task as an environment: of Gymnasium, single and vectorised, of PettingZoo and of Stable-Baselines3."""
