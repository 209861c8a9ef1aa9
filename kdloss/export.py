"""Exports a trained network for other runtimes.

    python -m kdloss.export --checkpoint runs/student --format onnx
    python -m kdloss.export --checkpoint runs/student --format litert --precision fp16 --out student.tflite
    python -m kdloss.export --checkpoint mobilenetv2-300w --format litert --precision int8 --dataset 300w

The file takes crops of faces, RGB 0..255, and yields their points and how far heatmaps spread; its own card, inside the
file, says the rest. It is read back at once, and compared with the network that it was made from.
"""

import argparse
import importlib.util

from data_prep.find import check_data, find_prepared
from kdloss.data.schemes import LandmarkScheme
from kdloss.errors import CheckpointError, ConfigError, exits_on_user_error
from kdloss.evaluation.evaluation import load_checkpoint, name_of
from kdloss.experiments.flags import add_checkpoint_flag, add_data_flags, add_out_flag
from kdloss.files import require_place
from kdloss.inference.metadata import read_metadata, with_confidence
from kdloss.machine import keras_backend
from kdloss.models.checkpoint import loadable_card, require_scheme
from kdloss.models.locate import checkpoint_path
from kdloss.pretrained import describe
from kdloss.training.runs import runs_root

# Format -> its suffix, and the precisions that it knows.
FORMATS = {
    "litert": (".tflite", ("fp32", "fp16", "int8")),
    "onnx": (".onnx", ("fp32", "fp16", "int8")),
    "savedmodel": ("", ("fp32",)),
}
CHECKED = 16  # faces on which what was written is compared with the network


@exits_on_user_error
def main(argv=None):
    args = _parser().parse_args(argv)
    suffix, precisions = FORMATS[args.format]
    if args.precision not in precisions:
        raise ConfigError(
            f"--precision {args.precision}: --format {args.format} knows {', '.join(precisions)} alone: take that, or "
            "another format"
        )
    if args.out and suffix and args.out.suffix != suffix:
        raise ConfigError(f"--out {args.out}: expected a name that ends in {suffix}, as --format {args.format} wants")
    if args.dataset:
        check_data(args.dataset, args.data)
    file = checkpoint_path(args.checkpoint)
    if file.suffix != ".keras":
        raise CheckpointError(f"{file}: expected a .keras checkpoint, or a run folder: others are not exported")
    card = with_confidence(loadable_card(file), file) | {"source_sha256": describe(file)["sha256"]}
    name = f"{name_of(args.checkpoint)[0]}-{args.precision if suffix else args.format}{suffix}"
    out = args.out or runs_root() / "exported" / name
    require_place(out, folder=not suffix)
    prepared = None
    if args.dataset or args.data or args.precision == "int8":
        prepared = find_prepared(args.dataset or card["dataset"], args.data)
        require_scheme(card, prepared.scheme, args.checkpoint)
    if args.precision == "int8":
        card |= {"calibrated_on": prepared.manifest["content"]}
    made = _check_existing(out, card, args)
    _check_installed(args)
    loaded = load_checkpoint(args.checkpoint, LandmarkScheme.from_json(card["scheme"]))
    crops, faces = _crops(prepared, loaded)
    if not made:
        _write(args, loaded.model, out, crops, card)
    done = "made before" if made else "wrote"
    print(f"{done} {out}: {_bytes(out) / 1e6:.2f} MB (the checkpoint: {_bytes(file) / 1e6:.2f} MB)", flush=True)
    for line in _differences(args.format, loaded.model, out, crops[:: -(-len(crops) // CHECKED)], faces):
        print(line)
    return 0


def _check_installed(args):
    """
    Raises:
        ConfigError: a package that such files need is missing, or Keras has another back end than TensorFlow.
    """
    needs = {"litert": ["ai-edge-litert"], "onnx": ["onnx", "onnxruntime", "tf2onnx"]}.get(args.format, [])
    if args.format == "litert" and args.precision == "int8":
        needs.append("ai-edge-quantizer")
    for name in needs:
        if importlib.util.find_spec(name.replace("-", "_")) is None:
            raise ConfigError(f"--precision {args.precision}: {name} is not installed: pip install '.[{args.format}]'")
    if keras_backend() != "tensorflow":
        raise ConfigError(f"KERAS_BACKEND={keras_backend()}: export needs tensorflow: unset it")


def _check_existing(out, card, args):
    """True if ``out`` is what this command makes: a run of it was cut off after the writing, or is repeated.

    Raises:
        ConfigError: something else is there.
    """
    if not out.exists():
        return False
    try:
        found = read_metadata(out) or {}
    except (CheckpointError, ImportError):
        found = {}
    export = found.get("export", {})
    same = (export.get("format"), export.get("precision")) == (args.format, args.precision)
    if not same or any(found.get(fact) != card.get(fact) for fact in ("source_sha256", "calibrated_on", "confidence")):
        raise ConfigError(f"{out}: exists already: remove it, or give another --out")
    return True


def _crops(prepared, loaded):
    """(n, S, S, 3) uint8 crops to export with, and what they are."""
    import numpy as np

    from kdloss.deploy.representative import rendered_crops, representative_crops

    if prepared is None:
        return np.concatenate(list(rendered_crops(loaded, CHECKED))), "rendered"
    return np.concatenate(list(representative_crops(prepared, loaded))), f"{prepared.dataset} training"


def _write(args, model, out, crops, card):
    if args.format == "savedmodel":
        from kdloss.deploy.savedmodel import export_savedmodel

        export_savedmodel(model, out, card)
        return
    if args.format == "litert":
        from kdloss.deploy.litert import export_litert as export
    else:
        from kdloss.deploy.onnx import export_onnx as export
    export(model, out, args.precision, [crops] if args.precision == "int8" else None, card)


def _differences(form, model, out, crops, faces):
    """Lines about what the written file yields of crops, beside what the network does."""
    import numpy as np

    from kdloss.models import deployed

    expected = deployed(model).predict_on_batch(crops.astype(np.float32))
    for name, found in zip(("points", "spread"), _read(form, out, crops), strict=True):
        if found is not None:
            # Of a point its distance, of a spread the difference.
            error = model.input_shape[1] * np.abs(found - expected[name])
            error = np.linalg.norm(error, axis=-1) if name == "points" else error
            yield (
                f"{name}: {error.mean():.4f} px from the network's on average, {error.max():.4f} px at most, of "
                f"{model.input_shape[1]} (on {len(crops)} {faces} faces)"
            )


def _read(form, out, crops):
    if form == "savedmodel":
        from kdloss.deploy.savedmodel import read_savedmodel

        return read_savedmodel(out, crops)
    if form == "litert":
        from kdloss.deploy.litert import LiteRTModel as Model
    else:
        from kdloss.deploy.onnx import OnnxModel as Model
    return Model(out).read(crops)


def _bytes(path):
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def _parser():
    parser = argparse.ArgumentParser(prog="python -m kdloss.export", description=__doc__.split("\n")[0])
    add_checkpoint_flag(parser, "network to export", required=True)
    parser.add_argument("--format", required=True, choices=list(FORMATS))
    parser.add_argument(
        "--precision", choices=("fp32", "fp16", "int8"), default="fp32",
        help="of weights; int8: of weights and activations, by training faces (default: fp32)",
    )  # fmt: skip
    add_data_flags(parser, about="whose faces int8 and the comparison take")
    add_out_flag(parser, "file or folder to make (default: by the checkpoint's name, below runs/exported/)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
