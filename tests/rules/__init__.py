"""Published rules that keep traces or read reward: each a class of its own that a user could write."""
