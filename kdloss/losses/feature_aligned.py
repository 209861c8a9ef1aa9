"""Feature-aligned distillation: a student's maps, lifted to its teacher's widths, are drawn to the teacher's maps.

Source: EfficientFAN (Gao et al., TNNLS 2023), reconstructed: the lifting is by 1x1 convolutions that training drops.
"""

from keras import ops

from kdloss.errors import ConfigError


def feature_aligned_loss(lifted, teacher_maps):
    """Sum over levels of the mean squared difference of two maps: a float32 scalar.

    The mean is over batch, positions and channels, so that no level counts more for being wide or large. 16-bit maps
    are widened first.

    Args:
        lifted: the student's maps (B, h, w, C), one a level, already as wide as the teacher's.
        teacher_maps: the teacher's maps of the same shapes, constants for the gradient.

    Raises:
        ConfigError: two maps of a level differ in shape.
    """
    levels = list(zip(lifted, teacher_maps, strict=True))
    for level, (student, teacher) in enumerate(levels):
        _check_shapes(level, tuple(student.shape), tuple(teacher.shape))
    return sum(_mean_squared_difference(student, teacher) for student, teacher in levels)


def _check_shapes(level, student, teacher):
    """A size that is not known before the call, None, fits every size."""
    fits = len(student) == len(teacher) and all(
        found == expected or None in (found, expected) for found, expected in zip(student, teacher, strict=True)
    )
    if not fits:
        raise ConfigError(
            f"feature-aligned distillation, level {level}: the student's map is {student}, expected the teacher's "
            f"shape {teacher}: use the same --image-size and lift the student's channels to the teacher's"
        )


def _mean_squared_difference(student, teacher):
    target = ops.stop_gradient(ops.cast(teacher, "float32"))
    return ops.mean(ops.square(ops.cast(student, "float32") - target))
