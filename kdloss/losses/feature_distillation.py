"""Feature distillation: a student's feature maps follow those of a frozen teacher.

Source: EfficientFAN (Gao et al., TNNLS 2023); both formulas are reconstructed. What is done with sides that differ, or
are no power of two, is ours.

Feature alignment (FA): 1x1 convolutions lift the student's maps to the teacher's widths, and the loss is the mean
squared difference. These convolutions exist only during training.

Patch similarity (PS): patches that are alike in the teacher's map should be alike in the student's map. For a map
of side 2^n and k = 0 .. n - 1, patches of 2^k x 2^k pixels are averaged to M = 4^(n - k) nodes. A, M x M, holds the
cosine similarity of every pair of nodes, and

    loss = 1/n sum_k ||A_S - A_T||_F^2 / M^2

A map of any other side h has n = ceil(log2 h), and patches at its last row and column average the pixels that exist:
side 7 has 7 x 7, 4 x 4 and 2 x 2 nodes.

At side 64 and k = 0, A has 4096^2 entries per face. It is not built there. With the nodes as the unit rows of F, M x C,
A = F F^T, and the trace is cyclic, so

    ||A_S - A_T||_F^2 = ||F_S^T F_S||_F^2 - 2 ||F_S^T F_T||_F^2 + ||F_T^T F_T||_F^2

This is exact and needs products of C x C only: M C^2 multiplications instead of M^2 C. With few nodes and wide maps A
is the smaller matrix, and the code compares it directly.

Each of the three terms is at most M^2. In float32 their difference, divided by M^2, has an error of about 1e-7, and may
be that much below zero. Hardware that rounds the factors of a product (TF32) rounds the same F_S and F_T in all three
terms, and the identity holds for the rounded factors.

A teacher whose image side is another has maps of other sides. `FeatureDistillation` brings them to the student's, level
by level: each pixel becomes the mean of the area that it covers in the teacher's map. So the mean over the map stays
the same, a whole factor is average pooling, and equal sides change nothing. `keras.ops.image.resize` with antialiasing
would do, but XLA cannot compile it on TensorFlow.
"""

import numpy as np
from keras import layers, ops

from kdloss.errors import ConfigError

# A node whose squared norm is below this counts as zero: its similarity to every node is 0, and so is its gradient.
TINY = 1e-12


def feature_aligned_loss(lifted, teacher_maps):
    """Sum over levels of the mean squared difference of two maps: a float32 scalar.

    The mean is over batch, positions and channels: a level does not count more for being wide or large. 16-bit maps are
    cast to float32 first.

    Args:
        lifted: the student's maps (B, h, w, C), one per level, already as wide as the teacher's.
        teacher_maps: the teacher's maps of the same shapes, constants for the gradient.

    Raises:
        ConfigError: two maps of a level differ in shape.
    """
    levels = list(zip(lifted, teacher_maps, strict=True))
    for level, (student, teacher) in enumerate(levels):
        _check_shapes(level, tuple(student.shape), tuple(teacher.shape))
    pairs = [(ops.cast(student, "float32"), ops.cast(teacher, "float32")) for student, teacher in levels]
    return sum(ops.mean(ops.square(student - ops.stop_gradient(teacher))) for student, teacher in pairs)


def _check_shapes(level, student, teacher):
    """Refuses two shapes that differ. A size of None, not known before the call, fits every size."""
    sizes = zip(student, teacher, strict=False)
    if len(student) != len(teacher) or any(own != other and None not in (own, other) for own, other in sizes):
        raise ConfigError(
            f"feature-aligned distillation, level {level}: the student's map is {student}, expected the teacher's "
            f"shape {teacher}: lift the student's channels, and resize the teacher's map"
        )


def patch_similarity_loss(student_maps, teacher_maps):
    """Mean over maps of `patch_similarity`; its scale does not depend on their number: a float32 scalar.

    Args:
        student_maps: the student's maps (B, h, h, C), h 2 at least.
        teacher_maps: the teacher's maps, of the same sides and any widths, constants for the gradient.

    Raises:
        ConfigError: see `patch_similarity`.
    """
    values = [patch_similarity(student, teacher) for student, teacher in zip(student_maps, teacher_maps, strict=True)]
    return sum(values) / len(values)


def patch_similarity(student, teacher, distance=None):
    """The PS loss of one map, mean over the batch: a float32 scalar from 0 to 4, up to rounding.

    The scale of a node does not matter. 16-bit maps are cast to float32 first.

    Args:
        student: map (B, h, h, C).
        teacher: map (B, h, h, C'), a constant for the gradient.
        distance: `direct_distance` or `gram_distance` for every k; None takes the cheaper for each.

    Raises:
        ConfigError: a map is not square, its side is 1, or the sides differ.
    """
    side, expected = _side("student", student), _side("teacher", teacher)
    if side != expected:
        raise ConfigError(
            f"patch similarity: the student's map has side {side}, the teacher's {expected}: expected the same: resize "
            "the teacher's map"
        )
    student = ops.cast(student, "float32")
    teacher = ops.stop_gradient(ops.cast(teacher, "float32"))
    values = []
    while side > 1:
        values.append((distance or _cheaper(student, teacher))(_unit_nodes(student), _unit_nodes(teacher)))
        side = (side + 1) // 2
        if side > 1:
            student, teacher = _halved(student), _halved(teacher)  # the mean of means is that of the whole patch
    return sum(values) / len(values)


def direct_distance(student, teacher):
    """Mean over the batch of ||A_S - A_T||_F^2 / M^2 from the matrices themselves.

    Args:
        student, teacher: unit rows (B, M, C), (B, M, C').
    """
    difference = ops.matmul(student, _transposed(student)) - ops.matmul(teacher, _transposed(teacher))
    return ops.mean(ops.square(difference))


def gram_distance(student, teacher):
    """The same number from products of C x C, see the top of this module."""
    nodes = student.shape[1]

    def energy(left, right):
        product = ops.matmul(_transposed(left), right) / nodes
        return ops.mean(ops.sum(ops.square(product), axis=(1, 2)))

    return energy(student, student) - 2 * energy(student, teacher) + energy(teacher, teacher)


def _cheaper(student, teacher):
    """The form that takes fewer multiplications forward (both counts are divided by M)."""
    nodes, ours, theirs = student.shape[1] ** 2, student.shape[3], teacher.shape[3]
    direct, gram = nodes * (ours + theirs), ours**2 + ours * theirs + theirs**2
    return direct_distance if direct <= gram else gram_distance


def _side(owner, features):
    height, width = features.shape[1:3]
    if height != width or height < 2:
        raise ConfigError(
            f"patch similarity: the {owner}'s map is {height} x {width}, expected a square of side 2 at least: give "
            "--image-size 64 or more"
        )
    return height


def _halved(features):
    if odd := features.shape[1] % 2:
        # Zeros shorten the nodes at the border and do not turn them: to the cosine they are means of what exists.
        features = ops.pad(features, ((0, 0), (0, odd), (0, odd), (0, 0)))
    return ops.average_pool(features, 2, strides=2, data_format="channels_last")


def _unit_nodes(features):
    """(B, h, w, C) -> (B, h w, C), rows of length 1, or of length 0 where a node is zero."""
    _, height, width, channels = features.shape
    nodes = ops.reshape(features, (-1, height * width, channels))
    squared = ops.sum(ops.square(nodes), axis=-1, keepdims=True)
    return nodes * ops.where(squared > TINY, ops.rsqrt(ops.maximum(squared, TINY)), 0.0)


def _transposed(matrices):
    return ops.transpose(matrices, (0, 2, 1))


def _resized(teacher_maps, student_maps):
    """The teacher's maps (B, h, h, C) at the student's sides, float32 where they differ; see the top of this module."""
    found = []
    for teacher, student in zip(teacher_maps, student_maps, strict=True):
        given, wanted = teacher.shape[1], student.shape[1]
        if given != wanted:
            shares = _shares(given, wanted)
            teacher = ops.einsum("ih,jw,bhwc->bijc", shares, shares, ops.cast(teacher, "float32"))
        found.append(teacher)
    return found


def _shares(given, wanted):
    """(wanted, given) float32: the share of each given pixel in each wanted one, along an axis; rows sum to 1."""
    ends = np.linspace(0, given, wanted + 1)[:, None]
    covered = np.clip(ends - np.arange(given), 0, 1)  # the part of each given pixel that lies before each end
    return (np.diff(covered, axis=0) * (wanted / given)).astype("float32")


class FeatureDistillation(layers.Layer):
    """The weighted FA and PS terms of a training. This layer is not saved with the student.

    Args:
        student_maps, teacher_maps: symbolic tensors of `kdloss.models.feature_maps`, of any sides and widths. Both
            networks see the same crop, each at its own side.
        fa_weight: weight of the FA term; None leaves the term out. The layer then trains 1x1 convolutions from the
            student's widths to the teacher's.
        ps_weight: weight of the PS term; None leaves the term out.

    Raises:
        ConfigError: maps that the terms cannot compare.
    """

    def __init__(self, student_maps, teacher_maps, *, fa_weight=None, ps_weight=None):
        super().__init__(name="feature_distillation")
        self.fa_weight, self.ps_weight = fa_weight, ps_weight
        self.lifts = []
        if fa_weight is not None:
            for own, other in zip(student_maps, teacher_maps, strict=True):
                lift = layers.Conv2D(other.shape[-1], 1, name=f"lift_{own.shape[1]}")
                lift.build(own.shape)
                self.lifts.append(lift)
        if ps_weight is not None:
            # On symbolic tensors: raises for maps that do not fit.
            patch_similarity_loss(student_maps, _resized(teacher_maps, student_maps))
        self.built = True

    def call(self, student_maps, teacher_maps):
        """Weighted loss terms by name, float32 scalars."""
        teacher_maps = _resized(teacher_maps, student_maps)
        found = {}
        if self.fa_weight is not None:
            lifted = [lift(own) for lift, own in zip(self.lifts, student_maps, strict=True)]
            found["fa"] = self.fa_weight * feature_aligned_loss(lifted, teacher_maps)
        if self.ps_weight is not None:
            found["ps"] = self.ps_weight * patch_similarity_loss(student_maps, teacher_maps)
        return found
