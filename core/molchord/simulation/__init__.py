"""Simulation: molecules become jobs, jobs become results, and results become a data set."""
