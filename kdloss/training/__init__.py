"""One training run: configuration, objective, teachers, trainer, recorder, checkpoints."""
