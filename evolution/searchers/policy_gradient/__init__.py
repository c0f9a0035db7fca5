"""Searchers by reward alone, on Stable-Baselines3."""
