"""The flags that both training commands share, and what they do with them."""

from pathlib import Path

from asm import ShapeModel
from data_prep.find import check_data, find_prepared
from kdloss.data.augmentation import AUGMENTATIONS
from kdloss.data.datasets import DATASETS
from kdloss.errors import ConfigError
from kdloss.experiments.recipes import EFFICIENTFAN, KD_LOSS, PRESETS, recipe
from kdloss.files import require_place
from kdloss.machine import may_have_accelerator
from kdloss.models.architectures import predicts_heatmaps
from kdloss.models.checkpoint import require_backend
from kdloss.training.checks import check_faces, check_settings, check_teachers, check_weights
from kdloss.training.config import HEATMAP_LOSSES, PRECISIONS
from kdloss.training.distribution import check_flags, distributed
from kdloss.training.runs import check_run_folder, finished, is_cut_off, run_folders, runs_root
from kdloss.training.stages import stages_of

OVERRIDES = (
    "arch", "loss", "heatmap_loss", "heatmap_weight", "image_size", "stages", "box", "augment", "weights", "frozen",
    "epochs", "batch_size", "learning_rate", "weight_decay", "ema", "precision", "seed",
)  # fmt: skip


def add_training_flags(parser):
    """Adds the shared flags to an `argparse` parser."""
    parser.add_argument("--dataset", default="300w", choices=list(DATASETS), help="data set (default: 300w)")
    parser.add_argument("--data", help="prepared folder, or a raw one in the official layout (default: data/DATASET)")
    parser.add_argument("--out", type=Path, help="run folder (default: a new one below runs/)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument(
        "--recipe",
        default="auto",
        choices=["auto", *PRESETS],
        help="settings for a kind of machine; the flags below replace single ones (default: by the machine)",
    )
    parser.add_argument("--arch", help="network, such as mobilenetv2-0.5, efficientnetb3 or efficientfan-b0")
    parser.add_argument("--weights", help="none, imagenet, or a file or checkpoint to start from")
    parser.add_argument(
        "--frozen",
        type=int,
        metavar="STRIDE",
        help="layers up to the last map at this stride keep the weights to start from, such as 8; 0: none",
    )
    parser.add_argument("--loss", choices=["l2", "l1", "wing"], help="loss of the points, but for --method kd-loss")
    parser.add_argument(
        "--heatmap-loss",
        choices=HEATMAP_LOSSES,
        help="of heatmap networks (efficientfan-*), beside the loss of the points",
    )
    parser.add_argument("--heatmap-weight", type=float, metavar="W", help="of that loss")
    parser.add_argument("--image-size", type=int, metavar="PIXELS", help="side of the views")
    parser.add_argument(
        "--stages",
        metavar="SIDE:SHARE,...",
        help="smaller sides for the first epochs, each with its share of them, such as 64:0.5; none: one side",
    )
    parser.add_argument("--box", metavar="BOX", help="gt:1.25, dataset:SCALE or paper")
    parser.add_argument("--augment", choices=list(AUGMENTATIONS), help="how views vary")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--weight-decay", type=float)
    parser.add_argument("--ema", type=float, metavar="MOMENTUM", help="average the weights, such as 0.998; 0: off")
    parser.add_argument("--precision", choices=PRECISIONS)
    parser.add_argument("--seed", type=int)
    parser.add_argument(
        "--distribute",
        metavar="WHERE",
        help="devices: all of this machine; HOST:PORT: several processes or machines (docs/scale.md)",
    )
    parser.add_argument("--processes", type=int, metavar="N", help="how many processes there are, with HOST:PORT")
    parser.add_argument("--process", type=int, metavar="I", help="which of them this is, from 0; 0 is at HOST:PORT")


def recipe_for(name, arch):
    """The recipe of a name: KD-Loss', or EfficientFAN's for heatmap networks that are not that one's."""
    own = recipe(name, KD_LOSS)
    if arch in (None, own.student["arch"], own.teacher["arch"]) or not predicts_heatmaps(arch):
        return own
    return recipe(name, EFFICIENTFAN)


def overrides(args):
    """The `TrainConfig` fields that the user set by flags."""
    return {name: value for name in OVERRIDES if (value := getattr(args, name)) is not None}


def run_training(args, name, config_of, given=dict, shape=None):
    """Checks all that is given, without a network library; then trains, and prints where the result is.

    Args:
        args: the parsed flags.
        name: of the run folder, a format of the fields of the configuration.
        config_of: (name of a recipe, fields) -> `TrainConfig`.
        given: returns the fields that only teachers tell, once flags and faces are checked.
        shape: file of a shape model, or None.

    Returns:
        The exit status.
    """
    preset = args.recipe if args.recipe != "auto" else "gpu" if may_have_accelerator() else "cpu"
    _check_flags(args, config_of(preset, None))
    prepared = check_data(args.dataset, args.data)
    shape = ShapeModel.load(shape) if shape else None
    fields = given()
    config = config_of(preset, fields)
    check_settings(config)
    if prepared:
        check_faces(config, prepared, shape)
    if not (args.out and finished(args.out)):
        check_weights(config)
        check_teachers(config, prepared and prepared.scheme)
    if not args.process:
        require_place(args.out or runs_root())
        if args.out:
            check_run_folder(args.out, config, args.resume)
    from kdloss.training.fit import train

    # Before everything that looks for accelerators.
    with distributed(args.distribute, args.processes, args.process) as distribution:
        if args.recipe == "auto":
            config = config_of("auto", fields)
        with distribution.first_alone():
            prepared = find_prepared(config.dataset, args.data)
        folder = Path(distribution.share(str(args.out or _folder_of(config, name.format(**vars(config))))))
        begun = ", done before" if finished(folder) else ", goes on" if (folder / "config.json").exists() else ""
        kept = "synthetic faces" if prepared.synthetic else "faces"
        sides = ", ".join(str(stage.side) for stage in stages_of(config))
        devices = f" on {distribution.devices} devices" if distribution.devices > 1 else ""
        if distribution.is_first:
            print(
                f"{config.kind}: {config.arch} at {sides} px on {len(prepared.indices('train'))} {kept} of "
                f"{config.dataset} (validation: {len(prepared.indices('val'))}), {config.epochs} epochs{devices}"
                f"{begun} -> {folder}"
            )
        options = {"resume": args.resume, "shape": shape, "verbose": None if distribution.is_first else 0}
        results = train(config, prepared, folder, distribution=distribution, **options)
        if distribution.is_first:
            print(f"best validation NME {results['val_nme']:.3f} % -> {folder / 'best.keras'}")
    return 0


def _check_flags(args, config):
    check_settings(config)
    if args.resume and not args.out:
        raise ConfigError("--resume: which run? name its folder with --out")
    if args.resume and not (args.out / "config.json").is_file():
        raise ConfigError(f"--resume --out {args.out}: no run was begun there: leave --resume out, or name its folder")
    if args.heatmap_weight is not None and config.heatmap_loss == "none":
        raise ConfigError("--heatmap-weight: this run has no heatmap loss: leave it out, or give --heatmap-loss")
    check_flags(args.distribute, args.processes, args.process)
    require_backend()


def _folder_of(config, name):
    """Of the run that was cut off and is made by the same command, or a new one."""
    return next(folder for folder in run_folders(name) if not folder.exists() or is_cut_off(folder, config))
