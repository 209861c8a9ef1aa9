"""KD-Loss' training loop as its authors ran it, written from its description: the training benchmark's reference.

Source: KD-Loss (Fard and Mahoor, CVIU 2022): eager steps; crops augmented beforehand, each a picture and a file of its
points that are opened when their batch comes; pixels / 255; both frozen teachers predict every batch; Adam.
"""

import itertools

import keras
import numpy as np
from PIL import Image

from kdloss.benchmarking.training_variants import TEACHERS
from kdloss.losses import KD_PRESETS, kd_loss
from kdloss.models import build_model
from kdloss.training.checkpoint import load_model

QUALITY = 95  # of the JPEG files
RATE = 1e-3


def write_crops(batches, folder):
    """Writes one view of every face of a `ViewBatches`: ``000000.jpg`` and ``000000.npy``, its unit points."""
    folder.mkdir()
    for first, (images, points) in zip(itertools.count(step=batches.batch_size), batches.in_order(), strict=False):
        for number, (image, unit) in enumerate(zip(images, points["hard"], strict=True), first):
            Image.fromarray(image).save(folder / f"{number:06d}.jpg", quality=QUALITY)
            np.save(folder / f"{number:06d}.npy", unit, allow_pickle=False)


def read_batch(pictures):
    """Images (B, S, S, 3) float32 in 0..1 and unit points (B, N, 2) of picture files."""
    images = [np.asarray(Image.open(picture), np.float32) / 255 for picture in pictures]
    points = [np.load(picture.with_suffix(".npy"), allow_pickle=False) for picture in pictures]
    return np.stack(images), np.stack(points)


def train_as_published(work, started, after_step):
    """Trains without end.

    Args:
        work: the `kdloss.benchmarking.training_variants.Work`.
        started: called once networks are there and the first step begins, with None.
        after_step: called after each step, with 1.
    """
    teachers = [load_model(work.checkpoint(role))[0] for role in TEACHERS]
    pictures = sorted(work.crops.glob("*.jpg"))
    num_points = teachers[0].output_shape[1]
    student = build_model(work.student, num_points, work.image_size)
    step = _STEPS[keras.backend.backend()](student, _loss(work.image_size))
    order = np.random.default_rng(0)
    started(None)
    for _ in itertools.count():
        shuffled = order.permutation(len(pictures))
        for start in range(0, len(pictures) - work.batch_size + 1, work.batch_size):
            images, points = read_batch([pictures[i] for i in shuffled[start : start + work.batch_size]])
            predicted = [np.asarray(teacher.predict_on_batch(images)) for teacher in teachers]
            float(step(images, points, *predicted))  # which the back end may not have computed before
            after_step(1)


def _loss(image_size):
    def loss(predicted, points, tough, tolerant):
        return kd_loss(points, predicted, tough, tolerant, KD_PRESETS["public"], image_size)

    return loss


def _tensorflow_step(student, loss):
    import tensorflow as tf

    optimizer = keras.optimizers.Adam(RATE)

    def step(images, *points):
        with tf.GradientTape() as tape:
            value = loss(student(images, training=True), *points)
        weights = student.trainable_variables
        optimizer.apply(tape.gradient(value, weights), weights)
        return value

    return step


def _torch_step(student, loss):
    import torch

    optimizer = keras.optimizers.Adam(RATE)

    def step(images, *points):
        student.zero_grad()
        value = loss(student(images, training=True), *points)
        value.backward()
        weights = student.trainable_variables
        with torch.no_grad():
            optimizer.apply([weight.value.grad for weight in weights], weights)
        return value.detach()

    return step


def _jax_step(student, loss):
    """Without ``jit``: each operation is a program of its own."""
    import jax

    optimizer = keras.optimizers.Adam(RATE)
    optimizer.build(student.trainable_variables)
    state = [
        [variable.value for variable in variables]
        for variables in (student.trainable_variables, student.non_trainable_variables, optimizer.variables)
    ]

    def value_of(weights, others, images, points):
        predicted, others = student.stateless_call(weights, others, images, training=True)
        return loss(predicted, *points), others

    def step(images, *points):
        weights, others, moments = state
        (value, others), gradients = jax.value_and_grad(value_of, has_aux=True)(weights, others, images, points)
        weights, moments = optimizer.stateless_apply(moments, gradients, weights)
        state[:] = weights, others, moments
        return value

    return step


_STEPS = {"tensorflow": _tensorflow_step, "jax": _jax_step, "torch": _torch_step}
