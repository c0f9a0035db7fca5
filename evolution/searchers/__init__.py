"""Searchers: a file each, and a row in `table`."""
