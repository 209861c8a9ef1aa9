"""The teachers of a run: frozen networks that see its views, each at its own side and in its own box."""

from dataclasses import dataclass, replace

import numpy as np

from kdloss.data.geometry import BoxPolicy, invert, transform_each
from kdloss.inference.prediction import crops_of, predict_ways
from kdloss.models.checkpoint import load_model
from kdloss.training.checks import check_teachers, teacher_files
from kdloss.training.faces import fold_numbers
from kdloss.training.teacher_cache import cached_points, cached_teacher


@dataclass(frozen=True, eq=False)
class Teacher:
    """A teacher.

    Args:
        networks: one network, or one for each fold, in their order.
        paths: their checkpoints.
        policy: the `BoxPolicy` of its crops.
    """

    networks: tuple
    paths: tuple
    policy: BoxPolicy

    @property
    def size(self):
        """Side of its views in pixels."""
        return self.networks[0].input_shape[1]

    @property
    def recut(self):
        """The name of its views in batches, see `kdloss.data.batches.ViewBatches`."""
        return f"{self.policy} at {self.size} px"


def load_teachers(config, prepared):
    """The teachers of a `TrainConfig` by name: ``tough``, ``tolerant``, ``feature-teacher``.

    A file that serves as two teachers is loaded once.

    Raises:
        CheckpointError: a teacher was trained on another data set or for other points.
    """
    check_teachers(config, prepared.scheme)
    paths = dict.fromkeys(config.teacher_paths.values())
    teachers = {path: _load(path, config.precision) for path in paths}
    return {name: teachers[path] for name, path in config.teacher_paths.items()}


def _load(path, precision):
    files = teacher_files(path)
    networks, cards = zip(*(load_model(file, precision=precision) for file in files), strict=True)
    return Teacher(networks, tuple(files), BoxPolicy.parse(cards[0]["box"]))


def recuts_of(teachers, batches):
    """The ``recuts`` of `ViewBatches` that teachers need whose views differ from ``batches``'."""
    own = (batches.size, batches.policy)
    return {one.recut: (one.size, one.policy) for one in teachers.values() if (one.size, one.policy) != own}


def stored_points(teacher, batches, cache, deadline, *, labelled):
    """A teacher's points on all views of ``batches``, cached in a folder.

    Args:
        teacher: a `Teacher`. Of a teacher of folds, the network that has not seen a face says its points; where none
            has seen it, they are averaged.
        batches: `ViewBatches` with a number of ``rounds``.
        cache, deadline: see `cached_teacher`.
        labelled: whether the faces have labels, so that folds have seen them.

    Returns:
        For each round, (m, N, 2) float32 unit points of the view.
    """
    blank = {"targets": {}, "stored": {}, "recuts": {}, "part": (0, 1)}
    views = replace(batches, size=teacher.size, policy=teacher.policy, **blank)

    def found(network, path, positions):
        some = replace(views, rows=views.rows[positions], batch_size=min(views.batch_size, len(positions)))
        return cached_teacher(network, path, some, cache, deadline)

    everyone, folds = np.arange(len(batches.rows)), len(teacher.networks)
    pairs = list(zip(teacher.networks, teacher.paths, strict=True))
    if folds == 1:
        rounds = found(*pairs[0], everyone)
    elif labelled:
        numbers = fold_numbers(batches.prepared, folds)[batches.rows]
        rounds = [np.empty((len(everyone), batches.scheme.num_points, 2), np.float32) for _ in range(batches.rounds)]
        for fold, pair in enumerate(pairs, start=1):
            unseen = np.flatnonzero(numbers == fold)
            if len(unseen):
                for points, some in zip(rounds, found(*pair, unseen), strict=True):
                    points[unseen] = some
    else:
        rounds = [np.mean(points, axis=0) for points in zip(*(found(*pair, everyone) for pair in pairs), strict=True)]
    if teacher.policy != batches.policy:
        rounds = [
            transform_each(batches.frames_from(views, number), points.astype(np.float64)).astype(np.float32)
            for number, points in enumerate(rounds)
        ]
    return rounds


def shuffled_errors(rounds, batches, seed):
    """A placebo: the truth of each view plus the errors that a teacher makes at other faces, point by point.

    It is as wrong as the teacher and knows nothing about the face.

    Args:
        rounds: the teacher's points, of `stored_points`.
        batches: the `ViewBatches`, with the target ``hard``.
    """
    placebo = []
    for number, points in enumerate(rounds):
        truth = np.concatenate([drawn["hard"] for _, drawn in replace(batches, stored={}, recuts={}).in_order(number)])
        rng = np.random.default_rng([seed, number])
        # Where the truth is unknown, so is the error: none is added.
        placebo.append(truth + rng.permuted(np.nan_to_num(points - truth), axis=0))
    return placebo


def pseudo_labels(config, scheme, faces, rows, cache):
    """What the teachers of a run say of faces without labels: the average over teachers and their mirror tests.

    Args:
        config: a `TrainConfig`.
        scheme: that of the points.
        faces, rows: of `kdloss.training.faces.unlabelled_faces`.
        cache: folder for the points.

    Returns:
        ``(points, kept)``: (n, N, 2) float32 in pixels of all stored crops, and the rows on which the averaged points
        agree best, the share ``pseudo_keep`` of all. The others have no points.
    """
    files = [file for path in config.labellers for file in teacher_files(path)]

    def predict():
        found = []
        for network, card in map(load_model, files):
            crops = crops_of(network, faces, rows, BoxPolicy.parse(card["box"]))
            found.append(predict_ways(network, faces, rows, crops, scheme, flip=scheme.mirrorable))
        return transform_each(invert(faces.to_image[rows]), np.concatenate(found)).astype(np.float32)

    ways = cached_points(predict, files, faces, rows, cache)
    # Stored crops show all faces at the same size, so their pixels compare.
    spread = ways.std(axis=0).mean(axis=(1, 2))
    sure = np.sort(np.argsort(spread, kind="stable")[: max(1, round(config.pseudo_keep * len(rows)))])
    points = np.zeros((len(faces), scheme.num_points, 2), np.float32)
    points[rows] = ways.mean(axis=0)
    return points, rows[sure]
