"""What networks cost and how accurate they are: parameters, MACs, and each file's size, memory, accuracy and time."""

import itertools
import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import keras
import numpy as np
from keras import layers

from kdloss.deploy.litert import export_litert
from kdloss.deploy.onnx import export_onnx
from kdloss.deploy.representative import representative_crops
from kdloss.deploy.runtimes import RUNTIMES, SUFFIXES
from kdloss.deploy.timing import NetworkFile, measure_memory, time_in_turns
from kdloss.errors import CheckpointError, ConfigError
from kdloss.evaluation.comparison import distinct_labels
from kdloss.evaluation.evaluation import LoadedModel, evaluate_loaded, load_checkpoint
from kdloss.models import build_model
from kdloss.models.locate import EXPORTED, checkpoint_path

NOISE_IMAGES = 8  # stand for faces when there are none


@dataclass(frozen=True)
class Network:
    """A network to measure."""

    label: str  # in tables
    arch: str
    model: object  # the Keras model, or the reader of an exported file, see `kdloss.inference.readers`
    loaded: LoadedModel | None = None  # of a trained network
    file: NetworkFile | None = None  # of an exported file

    @property
    def image_size(self):
        """The side of its images in pixels."""
        return self.model.input_shape[1]


def open_networks(archs, sizes, checkpoints, scheme=None):
    """Yields a `Network` of each architecture (68 points, random weights) at each side, then of each checkpoint."""
    for arch, size in itertools.product(archs, sizes):
        keras.utils.clear_session(free_memory=True)
        yield Network(f"{arch}, {size} px", arch, build_model(arch, 68, size))
    for checkpoint in checkpoints:
        keras.utils.clear_session(free_memory=True)
        loaded, path = load_checkpoint(checkpoint, scheme), checkpoint_path(checkpoint)
        label, file = f"{loaded.label}, {loaded.model.input_shape[1]} px", None
        if path.suffix in EXPORTED:
            file = NetworkFile(label, loaded.model.input_shape[1], _runtime_of(path, loaded.model.card), path)
        yield Network(label, loaded.record["arch"], loaded.model, loaded, file)


def measure_networks(networks, runtimes, prepared, *, processes, announce, **timing):
    """Writes the files of networks and measures them.

    Args:
        networks: an iterable of `Network`.
        runtimes: keys of `RUNTIMES`. An exported file runs in its own runtime only.
        prepared: a `PreparedDataset` or None. Trained networks are evaluated on its test faces, in every file, and its
            training faces decide the scales of 8 bits.
        processes: how many measure the peak memory of each file, see `measure_memory`; 0: it is not measured.
        announce: called with a line of progress now and then.
        timing: see `time_in_turns`.

    Returns:
        For JSON: ``models`` (``parameters`` and ``macs`` of exported files are None), ``files`` (``model``,
        ``runtime``, ``megabytes``, ``memory``, ``accuracy``: ``nme`` in percent, ``subsets`` and ``protocol`` as in
        ``metrics.json``), ``rows`` (see `time_in_turns`), ``settings`` and ``runtimes`` (package -> version).
    """
    models, files, groups = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for number, network in enumerate(networks):
            label = distinct_labels([*(model["label"] for model in models), network.label])[-1]
            network = replace(network, label=label)
            written = _write_files(network, runtimes, Path(folder, str(number)), prepared, announce)
            memory = [measure_memory(file, processes) if processes else None for file in written]
            evaluated = prepared and network.loaded
            if evaluated:
                announce(f"{label}: evaluating its files")
            groups.append(written)
            models.append(
                {
                    "label": label,
                    "arch": network.arch,
                    "image_size": network.image_size,
                    "points": network.model.output_shape[1],
                    "parameters": None if network.file else int(network.model.count_params()),
                    "macs": None if network.file else count_macs(network.model),
                    "checkpoint": network.loaded.record if network.loaded else None,
                }
            )
            for file, peak in zip(written, memory, strict=True):
                accuracy = _accuracy(network, file, prepared, max(timing["threads"])) if evaluated else None
                size = {"model": label, "runtime": file.runtime, "megabytes": file.path.stat().st_size / 1e6}
                files.append(size | {"memory": peak, "accuracy": accuracy})
        rows = time_in_turns(groups, **timing, announce=announce)
    versions = {}
    for file in files:
        versions |= RUNTIMES[file["runtime"]].version
    settings = timing | {"processes": processes, "dataset": prepared and prepared.dataset}
    return {"models": models, "files": files, "rows": rows, "settings": settings, "runtimes": versions}


def count_macs(model) -> int:
    """Multiply-accumulates of one image in a functional model.

    As usual, convolutions and dense layers count; biases and element-wise work (activations, sums, pooling, scaling) do
    not, nor does batch normalisation, which folds into a convolution. A layer that is used twice counts twice.

    Raises:
        ConfigError: a layer with weights whose type is not known, or a shape that is not fixed.
    """
    nodes = itertools.chain.from_iterable(model._nodes_by_depth.values())  # Keras has no public list of all uses
    return sum(_node_macs(node) for node in nodes if getattr(node.operation, "weights", None))


def _node_macs(node):
    layer = node.operation
    if isinstance(layer, keras.Model):
        return count_macs(layer)
    if type(layer) not in _MACS:
        known, kind = ", ".join(known.__name__ for known in _MACS), type(layer).__name__
        raise ConfigError(f"layer {layer.name}: multiply-accumulates of {kind} are not known: expected one of {known}")
    inputs, outputs = node.input_tensors[0].shape[1:], node.outputs[0].shape[1:]
    if None in (*inputs, *outputs):
        raise ConfigError(f"layer {layer.name}: goes from {inputs} to {outputs}: give the model a fixed size")
    return _MACS[type(layer)](layer, math.prod(inputs), math.prod(outputs))


# (layer, input numbers of one image, output numbers) -> multiply-accumulates. Shapes of kernels: Conv2D (h, w, in /
# groups, out), DepthwiseConv2D (h, w, in, multiplier), Conv2DTranspose (h, w, out, in), Dense (in, out). Each output
# number takes one for each tap and channel; in a transposed convolution it is each input number.
_MACS = {
    layers.Conv2D: lambda layer, inputs, outputs: outputs * math.prod(layer.kernel.shape[:3]),
    layers.DepthwiseConv2D: lambda layer, inputs, outputs: outputs * math.prod(layer.kernel.shape[:2]),
    layers.Conv2DTranspose: lambda layer, inputs, outputs: inputs * math.prod(layer.kernel.shape[:3]),
    layers.Dense: lambda layer, inputs, outputs: outputs * layer.kernel.shape[0],
    layers.BatchNormalization: lambda layer, inputs, outputs: 0,
    layers.Normalization: lambda layer, inputs, outputs: 0,
}


def _runtime_of(path, card):
    """The key of the runtime that runs an exported file."""
    export = card.get("export", {})
    for name, runtime in RUNTIMES.items():
        if (export.get("format"), export.get("precision")) == (runtime.form, runtime.precision):
            return name
    raise CheckpointError(f"{path}: does not say how it was exported: make it with python -m kdloss.export")


def _write_files(network, runtimes, folder, prepared, announce):
    """A `NetworkFile` for each runtime; of an exported file that file alone."""
    if network.file:
        return [replace(network.file, label=network.label)]
    announce(f"{network.label}: writing {', '.join(RUNTIMES[runtime].title for runtime in runtimes)}")
    folder.mkdir()
    files = []
    for name in runtimes:
        form, precision = RUNTIMES[name].form, RUNTIMES[name].precision
        path = folder / f"{name}{SUFFIXES[form]}"
        if form == "keras":
            network.model.save(path)
        else:
            export = export_litert if form == "litert" else export_onnx
            export(network.model, path, precision, _calibration(network, prepared) if precision == "int8" else None)
        files.append(NetworkFile(network.label, network.image_size, name, path))
    return files


def _calibration(network, prepared):
    """Batches of images that decide the scales of 8 bits: training faces for a trained network, else coarse noise."""
    if network.loaded and prepared:
        return representative_crops(prepared, network.loaded)
    coarse = np.random.default_rng(0).integers(0, 256, (NOISE_IMAGES, 8, 8, 3)).astype(np.uint8)
    side = (network.image_size, network.image_size)
    return [cv2.resize(image, side, interpolation=cv2.INTER_LINEAR)[None] for image in coarse]


def _accuracy(network, file, prepared, threads):
    """What evaluation finds of a file of a trained network, in the network's own box."""
    # TensorFlow has taken its threads in this process: Keras computes with the model that is open already.
    model = network.model if file.runtime == "keras" else file.open(threads)
    measured = evaluate_loaded(prepared, replace(network.loaded, model=model)).metrics
    protocol, subsets = measured["protocol"], measured["subsets"]
    return {"nme": subsets["full"][f"nme_{protocol['normaliser']}"], "subsets": subsets, "protocol": protocol}
