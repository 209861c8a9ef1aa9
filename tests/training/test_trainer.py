"""The training step: what it minimises, and frozen teachers that do not change by a bit."""

import keras
import numpy as np
import pytest
from keras import ops

from kdloss.data.augmentation import augmentation
from kdloss.data.batches import MixedBatches, ViewBatches, training_data
from kdloss.data.device_views import placed
from kdloss.data.geometry import BoxPolicy
from kdloss.losses import feature_aligned_loss, patch_similarity_loss
from kdloss.models import build_model, observed
from kdloss.models.checkpoint import load_model
from kdloss.models.heatmaps import gaussian_log_heatmaps
from kdloss.training import trainer as module
from kdloss.training.state import Deadline
from kdloss.training.teachers import Teacher, recuts_of, stored_points
from kdloss.training.trainer import DistillationTrainer, point_terms, term_names
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
    views = {"size": SIZE, "batch_size": BATCH, "augment": augmentation("paper"), "rounds": 2}
    return ViewBatches(faces, faces.indices("train"), **views | changes)


def online(network, box="gt:1.25"):
    return Teacher((network,), ("best.keras",), BoxPolicy.parse(box))


@pytest.fixture
def teachers(taught):
    return {kind: online(load_model(taught / kind)[0]) for kind in ("tough", "tolerant")}


@pytest.fixture
def seen(monkeypatch):
    """The point sets of the last step; its loss is the mean coordinate of the student's points."""
    points = {}

    def recorded(config, given, outputs):
        points.update(given)
        return {name: ops.mean(outputs["points"]) if name == "main" else 0.0 for name in term_names(config)}

    monkeypatch.setattr(module, "point_terms", recorded)
    return points


def test_teachers_stay_bit_identical_while_the_student_learns(faces, taught, teachers):
    student = build_model(ARCH, 68, SIZE)
    trainer = DistillationTrainer(student_config(taught), student, teachers)
    trainer.compile(optimizer=keras.optimizers.AdamW(1e-2, weight_decay=0.1, use_ema=True), jit_compile=False)
    assert [v.path for v in trainer.trainable_variables] == [v.path for v in student.trainable_variables]
    # All variables: weights, statistics of batch normalisation and the state of dropout.
    before = {kind: arrays(teacher.networks[0].variables) for kind, teacher in teachers.items()}
    weights, statistics = arrays(student.trainable_variables), arrays(student.non_trainable_variables)
    batches = draw(faces)
    data = training_data(batches, 0, 2 * batches.steps)
    history = trainer.fit(data, epochs=2, steps_per_epoch=batches.steps, verbose=0, shuffle=False).history
    for kind, teacher in teachers.items():
        assert same(arrays(teacher.networks[0].variables), before[kind])
    after = arrays(student.trainable_variables)
    assert not any(np.array_equal(a, b) for a, b in zip(after, weights, strict=True))
    assert not same(arrays(student.non_trainable_variables), statistics)
    assert sorted(history) == ["loss", "main", "tolerant", "tough"]
    total = np.add(np.add(history["main"], history["tough"]), history["tolerant"])
    np.testing.assert_allclose(history["loss"], total, rtol=1e-5)


def test_teachers_answer_as_in_evaluation(faces, taught, teachers, seen):
    images, points = draw(faces).batch(0, 0)
    images = images.astype("float32")
    trainer = DistillationTrainer(student_config(taught), build_model(ARCH, 68, SIZE), teachers)
    trainer.compute_loss(x=images, y=points, y_pred=trainer(images, training=True))
    for kind, teacher in teachers.items():
        network = teacher.networks[0]
        expected = ops.convert_to_numpy(network(images, training=False))
        assert np.array_equal(ops.convert_to_numpy(seen[kind]), expected)
        # The teacher has dropout: with training=True the answer is another.
        assert not np.array_equal(ops.convert_to_numpy(network(images, training=True)), expected)
    assert set(seen) == {"hard", "tough", "tolerant"}


def test_each_kind_of_network_learns_from_its_points():
    hard, soft = ops.zeros((1, 2, 2)), ops.full((1, 2, 2), 0.25)
    outputs = {"points": hard, "logits": gaussian_log_heatmaps(soft, 16)}
    for kind, names, points in (("tolerant", ["l1_soft", "heatmap"], 0.25), ("tough", ["l1_hard", "heatmap"], 0.0)):
        found = []
        for weight in (1.0, 3.0):
            config = heatmap_config(kind, heatmap_loss="mse", heatmap_weight=weight)
            values = point_terms(config, {"hard": hard, "soft": soft}, outputs)
            assert term_names(config) == list(values) == names
            assert float(values[names[0]]) == points
            found.append(float(values["heatmap"]))
        assert (found[0] < 1e-9) is (kind == "tolerant")
        assert found[1] == pytest.approx(3 * found[0])
    assert term_names(tiny_config("student", loss="l2")) == ["l2_hard"]
    both = heatmap_config(method="kd-loss+fa-ps", tough="a", feature_teacher="a")
    assert term_names(both) == ["main", "tough", "heatmap", "fa", "ps"]


def test_a_feature_teacher_stays_bit_identical_while_lifting_layers_learn(faces):
    student, teacher = (build_model(arch, 68, MAPS_SIZE) for arch in (DEEP, FAN))
    config = tiny_config("student", method="fa", feature_teacher="a", fa_weight=0.5, image_size=MAPS_SIZE)
    trainer = DistillationTrainer(config, student, {"feature-teacher": online(teacher)})
    trainer.compile(optimizer=keras.optimizers.AdamW(1e-2), jit_compile=False, run_eagerly=True)
    learns = [*student.trainable_variables, *trainer.feature_distillation.trainable_variables]
    assert {id(variable) for variable in trainer.trainable_variables} == {id(variable) for variable in learns}
    frozen, before = arrays(teacher.variables), arrays(learns)
    logs = trainer.train_on_batch(*draw(faces, size=MAPS_SIZE).batch(0, 0), return_dict=True)
    assert sorted(logs) == ["fa", "l1_hard", "loss"]
    assert logs["loss"] == pytest.approx(logs["fa"] + logs["l1_hard"], rel=1e-5)
    assert same(arrays(teacher.variables), frozen)
    assert not any(np.array_equal(a, b) for a, b in zip(before, arrays(learns), strict=True))


def test_a_teacher_of_points_and_features_runs_once(faces, seen):
    teacher, student = build_model(FAN, 68, MAPS_SIZE), build_model(FAN, 68, MAPS_SIZE)
    fields = {"method": "kd-loss+fa-ps", "tough": "a", "feature_teacher": "a", "fa_weight": 0.5, "ps_weight": 0.25}
    config = heatmap_config(heatmap_loss="none", **fields)
    trainer = DistillationTrainer(config, student, dict.fromkeys(("tough", "feature-teacher"), online(teacher)))
    images, points = draw(faces, size=MAPS_SIZE).batch(0, 0)
    images = images.astype("float32")
    expected = ops.convert_to_numpy(teacher(images, training=False))
    teacher.call = None  # a second call would fail
    loss = trainer.compute_loss(x=images, y=points, y_pred=trainer(images))
    np.testing.assert_allclose(ops.convert_to_numpy(seen["tough"]), expected, rtol=1e-5, atol=1e-6)
    # The terms, one by one.
    own, other = (observed(model, maps=True)(images, training=False)["maps"] for model in (student, teacher))
    lifted = [lift(map_) for lift, map_ in zip(trainer.feature_distillation.lifts, own, strict=True)]
    terms = 0.5 * feature_aligned_loss(lifted, other) + 0.25 * patch_similarity_loss(own, other)
    mean = ops.mean(student(images, training=False))
    assert float(loss) == pytest.approx(float(terms + mean), rel=1e-4)


@pytest.mark.parametrize(("side", "box"), [(48, "gt:1.25"), (SIZE, "gt:1.6"), (48, "paper")])
def test_an_online_teacher_of_another_side_and_box_gives_the_loss_of_its_stored_points(faces, tmp_path, side, box):
    network, student = build_model(ARCH, 68, side), build_model(ARCH, 68, SIZE)
    (tmp_path / "best.keras").write_bytes(b"weights")
    teacher = Teacher((network,), (tmp_path / "best.keras",), BoxPolicy.parse(box))
    config, batches = tiny_config("student", method="kd-loss", tough="a"), draw(faces)
    online_batches = draw(faces, recuts=recuts_of({"tough": teacher}, batches))
    assert [*online_batches.recuts] == [f"{box} at {side} px"]
    batches.stored["tough"] = stored_points(teacher, batches, tmp_path / "views", Deadline(), labelled=True)
    losses = []
    for drawn, teachers in ((batches, {}), (online_batches, {"tough": teacher})):
        images, arrays = drawn.batch(1, 0)
        trainer = DistillationTrainer(config, student, teachers)
        loss = trainer.compute_loss(x=images, y=arrays, y_pred=trainer(images))
        losses.append([float(loss), *(float(mean.result()) for mean in trainer.term_means.values())])
    np.testing.assert_allclose(*losses, rtol=1e-4)
    assert losses[0][2] != 0  # the teacher's term


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_views_drawn_in_the_step_are_those_of_the_host_for_student_and_teacher(faces, policy, seen):
    keras.config.set_dtype_policy(policy)
    try:
        teacher, student = online(build_model(ARCH, 68, 48), "paper"), build_model(ARCH, 68, SIZE)
    finally:
        keras.config.set_dtype_policy("float32")
    config, batches = tiny_config("student", method="kd-loss", tough="a"), draw(faces)
    host = MixedBatches([draw(faces, recuts=recuts_of({"tough": teacher}, batches))])
    found = []
    for drawn, views in (placed(host, "host"), placed(host, "device")):
        images, arrays = drawn.batch(1, 0)
        trainer = DistillationTrainer(config, student, {"tough": teacher}, views=views)
        outputs = trainer(images)
        trainer.compute_loss(x=images, y=arrays, y_pred=outputs)
        found.append([ops.convert_to_numpy(ops.cast(one, "float32")) for one in (outputs["images"], seen["tough"])])
    assert np.abs(found[0][0] - found[1][0]).max() <= 2
    np.testing.assert_allclose(found[0][1], found[1][1], atol=0.01 if policy == "mixed_bfloat16" else 1e-4)


def test_the_average_of_the_placebo_moves_by_a_hundredth_and_learns_nothing(faces, seen):
    config = tiny_config("student", method="kd-loss", placebo="average")
    student = build_model(ARCH, 68, SIZE)
    trainer = DistillationTrainer(config, student)
    assert same(trainer.average.get_weights(), student.get_weights())
    assert [id(variable) for variable in trainer.trainable_variables] == [id(v) for v in student.trainable_variables]
    rng = np.random.default_rng(0)
    student.set_weights([weight + rng.uniform(size=weight.shape) for weight in student.get_weights()])
    before, weights = trainer.average.get_weights(), student.get_weights()
    images, points = draw(faces).batch(0, 0)
    trainer.compute_loss(x=images, y=points, y_pred=trainer(images))
    expected = [old + (new - old) / 100 for old, new in zip(before, weights, strict=True)]
    for found, weight in zip(trainer.average.get_weights(), expected, strict=True):
        np.testing.assert_allclose(found, weight, rtol=1e-4, atol=1e-6)
    said = ops.convert_to_numpy(trainer.average(images.astype("float32"), training=False))
    for kind in ("tough", "tolerant"):
        np.testing.assert_allclose(ops.convert_to_numpy(seen[kind]), said, rtol=1e-5, atol=1e-6)
