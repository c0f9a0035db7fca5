"""What every part stands on: checks and refusals, files, names."""
