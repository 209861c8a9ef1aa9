"""Trained networks as files for other runtimes, and the measurement of their costs."""
