"""Environments that others wrote, as tasks."""
