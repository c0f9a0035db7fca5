"""The loop that agents live in: the only one over time."""
