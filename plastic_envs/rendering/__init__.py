"""Pictures of episodes, drawn with matplotlib, which is optional."""
