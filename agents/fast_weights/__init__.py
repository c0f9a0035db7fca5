"""Forms of fast weights: dense and faster ones that are equal to it."""
