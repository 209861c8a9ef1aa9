"""Exports a trained network for other runtimes.

    python -m kdloss.export --checkpoint runs/student --format onnx
    python -m kdloss.export --checkpoint runs/student --format litert --precision fp16 --out student.tflite
    python -m kdloss.export --checkpoint mobilenetv2-300w --format litert --precision int8 --dataset 300w

The file takes crops of faces, RGB 0..255, and yields their points, and of a heatmap network the spread too.
The card inside the file describes the rest. The file is read back at once and compared with the network.
"""

import argparse

import numpy as np

from data_prep.find import check_data, find_prepared
from kdloss.data.schemes import LandmarkScheme
from kdloss.deploy.exported_files import PRECISIONS
from kdloss.deploy.litert import export_litert
from kdloss.deploy.onnx import export_onnx
from kdloss.deploy.runtimes import not_installed
from kdloss.deploy.savedmodel import export_savedmodel, read_savedmodel
from kdloss.errors import CheckpointError, ConfigError, exits_on_user_error
from kdloss.evaluation.evaluation import load_checkpoint, name_of
from kdloss.experiments.flags import add_checkpoint_flag, add_data_flags, add_out_flag
from kdloss.files import require_place
from kdloss.inference.litert_reader import LiteRTModel
from kdloss.inference.metadata import LITERT, ONNX, read_metadata
from kdloss.inference.onnx_reader import OnnxModel
from kdloss.inference.readers import find_model
from kdloss.machine import keras_backend
from kdloss.models.checkpoint import require_scheme
from kdloss.models.locate import checkpoint_path
from kdloss.pretrained import describe
from kdloss.training.runs import runs_root

# Format -> the suffix of its files, its precisions, and the function that reads images with a file.
FORMATS = {
    "litert": (LITERT, PRECISIONS, lambda file, images: LiteRTModel(file).read(images)),
    "onnx": (ONNX, PRECISIONS, lambda file, images: OnnxModel(file).read(images)),
    "savedmodel": ("", ("fp32",), read_savedmodel),
}
COMPARED = 16  # faces on which the file is compared with the network


@exits_on_user_error
def main(argv=None):
    args = _parser().parse_args(argv)
    suffix, precisions, read = FORMATS[args.format]
    if args.precision not in precisions:
        raise ConfigError(f"--precision {args.precision}: expected {', '.join(precisions)} with --format {args.format}")
    if args.out and suffix and args.out.suffix != suffix:
        raise ConfigError(f"--out {args.out}: expected a name that ends in {suffix} with --format {args.format}")
    if args.dataset:
        check_data(args.dataset, args.data)
    file = checkpoint_path(args.checkpoint)
    if file.suffix != ".keras":
        raise CheckpointError(f"{file}: expected a .keras checkpoint, or a run folder: others are not exported")
    card = find_model(args.checkpoint).card | {"source_sha256": describe(file)["sha256"]}
    name = f"{name_of(args.checkpoint)[0]}-{args.precision if suffix else args.format}{suffix}"
    out = args.out or runs_root() / "exported" / name
    require_place(out, folder=not suffix)
    prepared = None
    if args.dataset or args.data or args.precision == "int8":
        prepared = find_prepared(args.dataset or card["dataset"], args.data)
        require_scheme(card, prepared.scheme, args.checkpoint)
    if args.precision == "int8":
        card |= {"calibrated_on": prepared.manifest["content"]}
    if exists := out.exists():
        _require_same_export(out, card, args)
    if missing := not_installed(args.format, args.precision):
        raise ConfigError(f"--precision {args.precision}: {missing}")
    if keras_backend() != "tensorflow":
        raise ConfigError(f"KERAS_BACKEND={keras_backend()}: export needs tensorflow: unset it")
    model, crops, faces = _load(args.checkpoint, LandmarkScheme.from_json(card["scheme"]), prepared)
    if not exists and args.format == "savedmodel":
        export_savedmodel(model, out, card)
    elif not exists:
        export = export_litert if args.format == "litert" else export_onnx
        export(model, out, args.precision, [crops] if args.precision == "int8" else None, card)
    done = "made before" if exists else "wrote"
    print(f"{done} {out}: {_bytes(out) / 1e6:.2f} MB (the checkpoint: {_bytes(file) / 1e6:.2f} MB)", flush=True)
    compared = crops[:: -(-len(crops) // COMPARED)]
    for line in _differences(model, read(out, compared), compared, faces):
        print(line)
    return 0


def _require_same_export(out, card, args):
    """Refuses to go on unless an earlier run of this command, perhaps a killed one, wrote ``out``."""
    try:
        found = read_metadata(out) or {}
    except (CheckpointError, ImportError):
        found = {}
    export = found.get("export", {})
    same = (export.get("format"), export.get("precision")) == (args.format, args.precision)
    if not same or any(found.get(fact) != card.get(fact) for fact in ("source_sha256", "calibrated_on", "confidence")):
        raise ConfigError(f"{out}: exists already: remove it, or give another --out")


def _load(checkpoint, scheme, prepared):
    """The network, crops (n, S, S, 3) uint8 to export with, and what faces these show."""
    from kdloss.deploy.representative import rendered_crops, representative_crops  # the renderer takes long to import

    loaded = load_checkpoint(checkpoint, scheme)
    if prepared is None:
        return loaded.model, np.concatenate(list(rendered_crops(loaded, COMPARED))), "rendered"
    crops = np.concatenate(list(representative_crops(prepared, loaded)))
    return loaded.model, crops, f"{prepared.dataset} training"


def _differences(model, read, crops, faces):
    """Lines about the differences between what a file and the network yield for crops."""
    from kdloss.models import deployed

    expected, side = deployed(model).predict_on_batch(crops.astype(np.float32)), model.input_shape[1]
    for name, found in zip(("points", "spread"), read, strict=True):
        if found is not None:
            error = side * np.abs(found - expected[name])
            error = np.linalg.norm(error, axis=-1) if name == "points" else error
            yield (
                f"{name}: {error.mean():.4f} px from the network's on average, {error.max():.4f} px at most, of {side} "
                f"(on {len(crops)} {faces} faces)"
            )


def _bytes(path):
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def _parser():
    parser = argparse.ArgumentParser(prog="python -m kdloss.export", description=__doc__.split("\n")[0])
    add_checkpoint_flag(parser, "network to export", required=True)
    parser.add_argument("--format", required=True, choices=list(FORMATS), help="runtime to export for")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="fp32",
        help="precision of weights; int8: also of activations, measured on training faces (default: fp32)",
    )  # fmt: skip
    add_data_flags(parser, about="data set for int8 and for the comparison with the checkpoint")
    add_out_flag(parser, "file or folder to make (default: by the checkpoint's name, below runs/exported/)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
