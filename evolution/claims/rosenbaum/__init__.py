"""Claims of Shervani-Tabar and Rosenbaum 2023, and of Rosenbaum on rules that evolve among many agents."""
