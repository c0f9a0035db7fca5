"""Comparisons and transfers: many runs, planned, estimated and dealt to processes."""
