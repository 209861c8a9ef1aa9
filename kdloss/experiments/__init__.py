"""Experiments: recipes, systems of several networks, the flags of trainings, reports."""
