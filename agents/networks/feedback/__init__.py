"""Classifiers whose errors travel back by random or symmetric feedback (Rosenbaum)."""
