"""The parts of a training run, as its configuration says: teachers, objective, optimizer, and the trainer of them."""

from kdloss.models import feature_maps
from kdloss.training.checkpoint import load_model
from kdloss.training.checks import check_teachers
from kdloss.training.feature_distillation import FeatureDistillation
from kdloss.training.objectives import objective_for
from kdloss.training.optimizer import optimizer_for
from kdloss.training.trainer import DistillationTrainer


def compiled_trainer(config, student, teachers, steps, features):
    """The `DistillationTrainer` of a `TrainConfig`, compiled, with all variables that a run resumes from.

    Args:
        config: a `TrainConfig`.
        student: the network.
        teachers: role -> network that runs online.
        steps: of an epoch.
        features: further arguments of `DistillationTrainer`.
    """
    objective, terms = objective_for(config)
    trainer = DistillationTrainer(student, objective, teachers, logits=config.heatmap_loss != "none", **features)
    trainer.track_terms(terms)
    trainer.compile(optimizer=optimizer_for(config, steps))
    trainer.optimizer.build(trainer.trainable_variables)
    return trainer


def load_teachers(config, prepared):
    """Role -> frozen network, the teacher of feature maps as ``feature-teacher``.

    A file that serves in two roles is loaded once.

    Raises:
        CheckpointError: not a teacher of this data set, size and box.
    """
    check_teachers(config, prepared.scheme)
    models = {path: load_model(path)[0] for path in dict.fromkeys(config.teacher_paths.values())}
    return {role: models[path] for role, path in config.teacher_paths.items()}


def feature_distillation(config, student, teacher):
    """The `FeatureDistillation` between two networks that a `TrainConfig` asks for."""
    weights = {f"{term}_weight": getattr(config, f"{term}_weight") for term in config.by_features}
    return FeatureDistillation(feature_maps(student), feature_maps(teacher), **weights)
