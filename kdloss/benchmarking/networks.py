"""The networks that are measured: fresh ones by name, trained ones by checkpoint."""

from dataclasses import dataclass

from kdloss.benchmarking.macs import count_macs
from kdloss.evaluation.evaluation import load_checkpoint
from kdloss.models import build_model, count_parameters
from kdloss.models.published_student import is_published_student, load_published_student
from kdloss.schemes import LandmarkScheme
from kdloss.training.checkpoint import checkpoint_path, read_card


@dataclass(frozen=True)
class Network:
    """A network to measure.

    Args:
        label: what tables call it.
        arch: its architecture.
        model: the Keras model.
        checkpoint: of a trained one, what `kdloss.evaluation.evaluation.LoadedModel` records of it; else None.
    """

    label: str
    arch: str
    model: object
    checkpoint: dict | None = None

    @property
    def image_size(self):
        """The side of its images in pixels."""
        return self.model.input_shape[1]

    def describe(self):
        """What it is: a dict for JSON."""
        return {
            "label": self.label,
            "arch": self.arch,
            "image_size": self.image_size,
            "points": self.model.output_shape[1],
            "parameters": count_parameters(self.model),
            "macs": count_macs(self.model),
            "checkpoint": self.checkpoint,
        }


def fresh(arch, num_points, image_size):
    """A `Network` with random weights; raises what `build_model` does."""
    return Network(f"{arch}, {image_size} px", arch, build_model(arch, num_points, image_size))


def trained(path):
    """The `Network` of a run folder, a ``.keras`` file, a shipped model's name or a published student's ``.h5``.

    Raises:
        CheckpointError: no such file, or damaged.
    """
    file = checkpoint_path(path)
    if is_published_student(file):
        scheme = LandmarkScheme.plain(load_published_student(file).output_shape[1])
    else:
        scheme = LandmarkScheme.from_json(read_card(file)["scheme"])
    loaded = load_checkpoint(path, scheme)
    label = f"{loaded.label}, {loaded.model.input_shape[1]} px"
    return Network(label, loaded.record["arch"], loaded.model, loaded.record)
