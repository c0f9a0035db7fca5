"""One run: its settings, its loop, and the files of its folder."""
