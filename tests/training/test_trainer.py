"""The trained step: what it minimises, and frozen teachers that stay as they are to the bit."""

import keras
import numpy as np
import pytest
from keras import ops

from kdloss.data.augmentation import augmentation
from kdloss.data.batches import ViewBatches, training_data
from kdloss.data.geometry import BoxPolicy
from kdloss.losses import feature_aligned_loss, patch_similarity_loss
from kdloss.losses.feature_distillation import FeatureDistillation
from kdloss.models import build_model, feature_maps, observed
from kdloss.models.checkpoint import load_model
from kdloss.models.heatmaps import gaussian_log_heatmaps
from kdloss.training.trainer import DistillationTrainer, objective_for
from tests.training.tiny_chain import (
    ARCH,
    BATCH,
    DEEP,
    FAN,
    MAPS_SIZE,
    SIZE,
    arrays,
    heatmap_config,
    same,
    student_config,
    tiny_config,
)


def draw(faces, **changes):
    views = {"size": SIZE, "batch_size": BATCH, "policy": BoxPolicy(), "augment": augmentation("paper"), "rounds": 2}
    return ViewBatches(faces, faces.indices("train"), **views | changes)


@pytest.fixture
def teachers(taught):
    return {role: load_model(taught / role)[0] for role in ("tough", "tolerant")}


def test_teachers_stay_bit_identical_while_the_student_learns(faces, taught, teachers):
    objective, terms = objective_for(student_config(taught))
    trainer = DistillationTrainer(build_model(ARCH, 68, SIZE), objective, teachers)
    trainer.track_terms(terms)
    trainer.compile(optimizer=keras.optimizers.AdamW(1e-2, weight_decay=0.1, use_ema=True), jit_compile=False)
    before = {role: arrays(teacher.variables) for role, teacher in teachers.items()}
    student = arrays(trainer.student.trainable_variables)
    statistics = arrays(trainer.student.non_trainable_variables)
    assert [v.path for v in trainer.trainable_variables] == [v.path for v in trainer.student.trainable_variables]
    batches = draw(faces)
    data = training_data(batches, 0, 2 * batches.steps)
    history = trainer.fit(data, epochs=2, steps_per_epoch=batches.steps, verbose=0, shuffle=False).history
    for role, teacher in teachers.items():
        # All variables: weights, batch normalisation's statistics and the state of dropout.
        assert same(arrays(teacher.variables), before[role])
    assert not any(
        np.array_equal(a, b) for a, b in zip(arrays(trainer.student.trainable_variables), student, strict=True)
    )
    assert not same(arrays(trainer.student.non_trainable_variables), statistics)
    assert sorted(history) == ["loss", "main", "tolerant", "tough"]
    total = np.add(np.add(history["main"], history["tough"]), history["tolerant"])
    np.testing.assert_allclose(history["loss"], total, rtol=1e-5)


def test_teachers_answer_as_in_evaluation(faces, taught, teachers):
    images, points = draw(faces).batch(0, 0)
    images = images.astype("float32")
    seen = {}

    def objective(targets, outputs):
        seen.update(targets)
        return {"main": ops.mean(outputs["points"])}

    trainer = DistillationTrainer(build_model(ARCH, 68, SIZE), objective, teachers)
    trainer.compute_loss(x=images, y=points, y_pred=trainer(images, training=True))
    for role, teacher in teachers.items():
        expected = ops.convert_to_numpy(teacher(images, training=False))
        assert np.array_equal(ops.convert_to_numpy(seen[role]), expected)
        # The dropout that must not act is there: with training=True the answer is another.
        assert not np.array_equal(ops.convert_to_numpy(teacher(images, training=True)), expected)
    assert set(seen) == {"hard", "tough", "tolerant"}


def test_objectives_learn_from_the_points_of_their_kind():
    hard, soft = ops.zeros((1, 2, 2)), ops.full((1, 2, 2), 0.25)
    outputs = {"points": hard, "logits": gaussian_log_heatmaps(soft, 16)}
    for kind, names, points in (("tolerant", ["l1_soft", "heatmap"], 0.25), ("tough", ["l1_hard", "heatmap"], 0.0)):
        found = []
        for weight in (1.0, 3.0):
            objective, terms = objective_for(heatmap_config(kind, heatmap_loss="mse", heatmap_weight=weight))
            values = objective({"hard": hard, "soft": soft}, outputs)
            assert terms == list(values) == names
            assert float(values[names[0]]) == points
            found.append(float(values["heatmap"]))
        assert (found[0] < 1e-9) is (kind == "tolerant")
        assert found[1] == pytest.approx(3 * found[0])
    assert objective_for(tiny_config("student", loss="l2"))[1] == ["l2_hard"]
    # A student with teachers' points has them besides.
    assert objective_for(heatmap_config(method="kd-loss", tough="a"))[1] == ["main", "tough", "heatmap"]


def test_a_followed_teacher_stays_bit_identical_while_lifting_layers_learn(faces):
    student, teacher = (build_model(arch, 68, MAPS_SIZE) for arch in (DEEP, FAN))
    features = FeatureDistillation(feature_maps(student), feature_maps(teacher), fa_weight=0.5)
    assert features.terms == ["fa"]
    objective, terms = objective_for(tiny_config("student"))
    trainer = DistillationTrainer(student, objective, feature_teacher=teacher, feature_distillation=features)
    trainer.track_terms(terms)
    trainer.compile(optimizer=keras.optimizers.AdamW(1e-2), jit_compile=False, run_eagerly=True)
    learns = [*student.trainable_variables, *features.trainable_variables]
    assert {id(variable) for variable in trainer.trainable_variables} == {id(variable) for variable in learns}
    frozen, before = arrays(teacher.variables), arrays(learns)
    logs = trainer.train_on_batch(*draw(faces, size=MAPS_SIZE).batch(0, 0), return_dict=True)
    assert sorted(logs) == ["fa", "l1_hard", "loss"]
    assert logs["loss"] == pytest.approx(logs["fa"] + logs["l1_hard"], rel=1e-5)
    assert same(arrays(teacher.variables), frozen)
    after = arrays(learns)
    assert not any(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_followed_teacher_that_also_says_points_is_run_once(faces):
    teacher = build_model(FAN, 68, MAPS_SIZE)
    student = build_model(FAN, 68, MAPS_SIZE)
    maps = feature_maps(student), feature_maps(teacher)
    features = FeatureDistillation(*maps, fa_weight=0.5, ps_weight=0.25)
    seen = {}

    def objective(targets, outputs):
        seen.update(targets)
        return {"main": ops.mean(outputs["points"])}

    both = {"feature_teacher": teacher, "feature_distillation": features}
    trainer = DistillationTrainer(student, objective, {"tough": teacher}, **both)
    images, points = draw(faces, size=MAPS_SIZE).batch(0, 0)
    images = images.astype("float32")
    expected = ops.convert_to_numpy(teacher(images, training=False))
    teacher.call = None  # asked once more by itself, it fails
    loss = trainer.compute_loss(x=images, y=points, y_pred=trainer(images))
    np.testing.assert_allclose(ops.convert_to_numpy(seen["tough"]), expected, rtol=1e-5, atol=1e-6)
    # The terms, one by one.
    own, other = (observed(model, maps=True)(images, training=False)["maps"] for model in (student, teacher))
    lifted = [lift(map_) for lift, map_ in zip(features.lifts, own, strict=True)]
    terms = 0.5 * feature_aligned_loss(lifted, other) + 0.25 * patch_similarity_loss(own, other)
    points = ops.mean(student(images, training=False))
    assert float(loss) == pytest.approx(float(terms + points), rel=1e-4)
