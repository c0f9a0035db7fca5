"""Scores on held-out episodes, their intervals, and what they stand beside."""
