"""Searchers by evolution, on EvoTorch."""
