"""Feature distillation: a student's maps follow a frozen teacher's, by alignment (FA), patch similarity (PS) or both.

Source: EfficientFAN (Gao et al., TNNLS 2023); formulas reconstructed, see `kdloss.losses`.
"""

from keras import layers

from kdloss.losses import feature_aligned_loss, patch_similarity_loss


class FeatureDistillation(layers.Layer):
    """The terms of feature distillation. It belongs to the training, not to the student that is saved.

    Args:
        student_maps, teacher_maps: symbolic tensors of `kdloss.models.feature_maps`; same sides, any widths.
        fa_weight: of the FA term, or None: no such term. With it come lifting layers, 1x1 convolutions from the
            student's widths to the teacher's, trained with the student.
        ps_weight: of the PS term, or None.

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
            patch_similarity_loss(student_maps, teacher_maps)  # symbolic: maps that do not suit are found out here
        self.built = True

    @property
    def terms(self):
        """Names of the terms."""
        weights = {"fa": self.fa_weight, "ps": self.ps_weight}
        return [name for name, weight in weights.items() if weight is not None]

    def call(self, student_maps, teacher_maps):
        """Weighted loss terms by name, float32 scalars."""
        found = {}
        if self.fa_weight is not None:
            lifted = [lift(own) for lift, own in zip(self.lifts, student_maps, strict=True)]
            found["fa"] = self.fa_weight * feature_aligned_loss(lifted, teacher_maps)
        if self.ps_weight is not None:
            found["ps"] = self.ps_weight * patch_similarity_loss(student_maps, teacher_maps)
        return found
