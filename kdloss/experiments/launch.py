"""What both training commands do: from the flags of `TrainConfig` to a trained network."""

import dataclasses
from pathlib import Path

from asm import ShapeModel
from data_prep.find import check_data, find_prepared
from kdloss.errors import ConfigError
from kdloss.experiments.flags import add_data_flags, add_out_flag
from kdloss.experiments.recipes import EFFICIENTFAN, KD_LOSS, OWN, OWN_FACES, OWN_FLAGS, RECIPES, recipe
from kdloss.files import require_place
from kdloss.machine import may_have_accelerator
from kdloss.models.architectures import predicts_heatmaps
from kdloss.models.checkpoint import require_backend
from kdloss.names import counted
from kdloss.training.checks import card_of_weights, check_faces, check_settings, check_teachers, check_weights
from kdloss.training.config import TrainConfig, flag
from kdloss.training.distribution import check_flags, distributed
from kdloss.training.faces import labelled_rows
from kdloss.training.runs import (
    begun_run,
    check_run_folder,
    finished,
    is_cut_off,
    lengthen,
    run_folders,
    runs_root,
)


def add_training_flags(parser, command, **special):
    """Adds the flags of a training command (``teacher`` or ``student``) to a parser.

    ``special`` replaces ``default`` or ``choices`` of the flags of some fields of `TrainConfig`. Other flags have no
    default: the recipe has. `parsed` sets defaults. Returns field -> its `argparse.Action`.
    """
    add_data_flags(parser, about="data set to train on (default: 300w)")
    add_out_flag(parser, "run folder (default: a new one below runs/)")
    text = "go on with the run in --out, with its settings; with a larger --epochs a finished one too"
    parser.add_argument("--resume", action="store_true", help=text)
    parser.add_argument(
        "--recipe",
        default="auto",
        choices=["auto", *RECIPES, OWN],
        help="settings for a kind of machine, or for a few own faces, which other flags replace (default: auto, by the "
        "machine)",
    )
    actions, usual = {}, {"dataset": "300w"}
    for field in dataclasses.fields(TrainConfig):
        about = field.metadata
        owner = about.get("command", "student" if "term" in about else command)
        if field.name == "dataset" or owner != command:
            continue
        how = {"type": field.type if isinstance(field.type, type) else str, "help": about["help"]}
        how |= {"metavar": about.get("metavar", {int: "N", float: "X"}.get(field.type))}
        how |= {"choices": about.get("choices")} | special.get(field.name, {})
        if default := how.pop("default", None):
            how["help"] += f" (default: {default})"
            usual[field.name] = default
        actions[field.name] = parser.add_argument(flag(field.name), **how)
    parser.add_argument(
        "--distribute",
        metavar="WHERE",
        help="devices: all of this machine; HOST:PORT: several processes or machines (docs/training.md)",
    )
    parser.add_argument("--processes", type=int, metavar="N", help="how many processes there are, with HOST:PORT")
    parser.add_argument("--process", type=int, metavar="I", help="which of them this is, from 0; 0 is at HOST:PORT")
    parser.set_defaults(usual=usual)
    return actions


def parsed(parser, argv):
    """The parsed flags of a training command, with ``begun``: the `TrainConfig` of the run that is resumed, or None.

    Flags with a default that are not given are as in that run, if there is one. A run that starts from a checkpoint has
    its network and its size.
    """
    args = parser.parse_args(argv)
    args.begun, folder = begun_run(args.out) if args.resume and args.out else (None, None)
    args.data = args.data or folder
    for name, value in args.usual.items():
        value = OWN_FLAGS.get(name, value) if args.recipe == OWN else value
        if getattr(args, name) is None:
            setattr(args, name, getattr(args.begun, name) if args.begun else value)
    if not args.begun and not args.arch and (card := card_of_weights(args.weights)):
        args.arch, args.image_size = card["arch"], args.image_size or card["image_size"]
    return args


def recipe_for(name, arch):
    """KD-Loss' recipe of a name, or EfficientFAN's for heatmap networks that KD-Loss' does not train."""
    own = OWN_FACES if name == OWN else recipe(name, KD_LOSS)
    if name == OWN or arch in (None, own.student["arch"], own.teacher["arch"]) or not predicts_heatmaps(arch):
        return own
    return recipe(name, EFFICIENTFAN)


def overrides(args):
    """The `TrainConfig` fields that the user set by flags."""
    values = {field.name: getattr(args, field.name, None) for field in dataclasses.fields(TrainConfig)}
    return {name: value for name, value in values.items() if value is not None and name not in ("kind", "dataset")}


def run_training(args, name, config_of, find_teachers=dict, shape=None):
    """Checks everything that needs no network library; then trains, prints where the result is, and returns 0.

    Args:
        args: the parsed flags.
        name: of the run folder, a format string of the fields of the configuration.
        config_of: (name of a recipe, fields) -> `TrainConfig`; fields is None until the teachers are known.
        find_teachers: returns the fields that depend on the teachers, once flags and faces are checked.
        shape: file of a shape model, or None.
    """
    chosen = args.recipe if args.recipe != "auto" else "gpu" if may_have_accelerator() else "cpu"
    rounds = getattr(args, "rounds", 1)
    if args.begun and args.recipe == "auto":
        changes = {"kind": getattr(args, "kind", "student"), "dataset": args.dataset} | overrides(args)
        config_of, find_teachers = (lambda *_: dataclasses.replace(args.begun, **changes)), dict
    _check_flags(args, config_of(chosen, None), rounds)
    prepared = check_data(args.dataset, args.data)
    shape = ShapeModel.load(shape) if shape else None
    fields = find_teachers()
    config = config_of(chosen, fields)
    check_settings(config)
    longer = args.begun and config.epochs > args.begun.epochs
    if args.begun and config.epochs < args.begun.epochs:
        raise ConfigError(
            f"--resume --out {args.out}: a run of {args.begun.epochs} epochs, expected no fewer, found --epochs "
            f"{config.epochs}: leave --epochs out, or begin a shorter run in another folder"
        )
    if prepared:
        for _, one in _runs(config, Path(), rounds):
            check_faces(one, prepared, shape)
    if not (args.out and all(finished(place, one.epochs) for place, one in _runs(config, args.out, rounds))):
        check_weights(config)
        check_teachers(config, prepared and prepared.scheme)
    if not args.process:
        require_place(args.out or runs_root())
        for place, one in _runs(config, args.out, rounds) if args.out else ():
            as_begun = dataclasses.replace(one, epochs=args.begun.epochs) if longer else one
            check_run_folder(place, as_begun, args.resume, prepared)
    from kdloss.training.fit import train

    # Processes must be joined before the recipe `auto` looks for accelerators, which starts the back end.
    with distributed(args.distribute, args.processes, args.process) as group:
        if args.recipe == "auto":
            config = config_of("auto", fields)
        with group.first_alone():
            prepared = find_prepared(config.dataset, args.data)
        # Below runs/: a new folder, or that of a run of the same command that was cut off.
        folders = run_folders(name.format(**vars(config)))
        folder = args.out or next(place for place in folders if _is_free(place, _runs(config, place, rounds), prepared))
        folder = Path(group.share(str(folder)))
        for place, one in _runs(config, folder, rounds):
            if group.is_first:
                if longer:
                    lengthen(place, one.epochs)
                _announce(one, prepared, place, group.devices)
            how = {"resume": args.resume, "shape": shape, "verbose": group.is_first, "distribution": group}
            results = train(one, prepared, place, **how)
            if group.is_first:
                found = "last epoch" if one.keep == "last" else f"best validation NME {results['val_nme']:.3f} %"
                print(f"{found} -> {place / 'best.keras'}")
    return 0


def _runs(config, folder, rounds):
    """The runs of a command in a folder: one; or one for each fold; or the last of the rounds, the others beside it.

    Faces without labels get those of the teachers in the first round, and of teachers and the student before, averaged,
    in the next ones.
    """
    if config.folds:
        return [(folder / f"fold-{k}", dataclasses.replace(config, fold=k)) for k in range(1, config.folds + 1)]
    runs, labellers = [], config.labellers
    for number in range(1, rounds):
        place = Path(f"{folder}-round-{number}")
        runs.append((place, config))
        config = dataclasses.replace(config, pseudo_teacher=",".join([*labellers, str(place)]))
    return [*runs, (folder, config)]


def _is_free(folder, runs, prepared):
    return is_cut_off(runs, prepared) or not any(place.exists() for place in (folder, *(place for place, _ in runs)))


def _check_flags(args, config, rounds):
    check_settings(config)
    if rounds < 1 or (rounds > 1 and not config.unlabelled_batch):
        raise ConfigError(f"--rounds {rounds}: expected 1, or with --unlabelled more: a round labels these faces anew")
    if args.resume and not args.out:
        raise ConfigError("--resume: no run is named: give its folder with --out")
    if args.resume and not any((place / "config.json").is_file() for place, _ in _runs(config, args.out, rounds)):
        raise ConfigError(f"--resume --out {args.out}: no run was begun there: leave --resume out, or name its folder")
    if args.heatmap_weight is not None and config.heatmap_loss == "none":
        raise ConfigError("--heatmap-weight: this run has no heatmap loss: leave it out, or give --heatmap-loss")
    check_flags(args.distribute, args.processes, args.process)
    require_backend()


def _announce(config, prepared, folder, devices):
    begun = (
        ", done before" if finished(folder, config.epochs) else ", goes on" if (folder / "config.json").exists() else ""
    )
    faces = f"{len(labelled_rows(prepared, config))} {'synthetic faces' if prepared.synthetic else 'faces'}"
    validation = len(prepared.indices("val")) if config.keep == "best" else "none"
    where = f" on {devices} devices" if devices > 1 else ""
    sides = "" if prepared.scheme.mirrorable else ", never mirrored: no point's name says left or right"
    print(
        f"{config.kind}: {config.arch} at {config.image_size} px on {faces} of {config.dataset} "
        f"(validation: {validation}{sides}), {counted(config.epochs, 'epoch')}{where}{begun} -> {folder}"
    )
