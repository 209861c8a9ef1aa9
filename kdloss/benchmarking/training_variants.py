"""What the training benchmark compares: ways to train one student, and options that change them."""

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

BACKENDS = ("tensorflow", "jax", "torch")
WAYS = {"published": "published recipe", "online": "online teachers", "cached": "cached teachers"}
TEACHERS = ("tough", "tolerant")
# Several processes share an accelerator, so none may take all of its memory before it needs it.
_SHARED = {
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
_ONE_THREAD = {
    "tensorflow": {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"},
    "jax": {"NPROC": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"},
    "torch": {"OMP_NUM_THREADS": "1"},
}


@dataclass(frozen=True)
class Option:
    """One change of this project's training.

    Args:
        title: what tables call it.
        backends: where it is a change.
        ways: of what.
        compiled: arguments of ``compile``.
        precision: Keras dtype policy.
        one_thread: computes on one thread; views are drawn by others all the same.
        channels_first: the student's maps are (B, C, H, W).
    """

    title: str
    backends: tuple[str, ...] = BACKENDS
    ways: tuple[str, ...] = ("online", "cached")
    compiled: dict = field(default_factory=dict)
    precision: str = "float32"
    one_thread: bool = False
    channels_first: bool = False


OPTIONS = {
    "eager": Option("eager", ("tensorflow", "jax"), compiled={"run_eagerly": True, "jit_compile": False}),
    "compiled": Option("XLA or torch.compile", ("tensorflow", "torch"), compiled={"jit_compile": True}),
    "bfloat16": Option("bfloat16", precision="mixed_bfloat16"),
    "steps-8": Option("8 steps a call", compiled={"steps_per_execution": 8}),
    "one-thread": Option("one thread", one_thread=True),
    "channels-first": Option("channels first", ways=("cached",), channels_first=True),
}


@dataclass(frozen=True)
class Variant:
    """One way to train, on a back end, with options by name."""

    backend: str
    way: str
    options: tuple[str, ...] = ()

    @property
    def title(self):
        """What messages call it."""
        return ", ".join([self.backend, WAYS[self.way], *(OPTIONS[name].title for name in self.options)])

    @property
    def precision(self):
        """Keras dtype policy."""
        return next((p for name in self.options if (p := OPTIONS[name].precision) != "float32"), "float32")

    @property
    def compiled(self):
        """Arguments of ``compile`` that differ from the project's own."""
        return {name: value for option in self.options for name, value in OPTIONS[option].compiled.items()}

    @property
    def channels_first(self):
        """Whether the student's maps are (B, C, H, W)."""
        return any(OPTIONS[name].channels_first for name in self.options)

    @property
    def environment(self):
        """Variables that its process needs before it imports Keras."""
        threads = _ONE_THREAD[self.backend] if any(OPTIONS[name].one_thread for name in self.options) else {}
        return _SHARED | threads | {"KERAS_BACKEND": self.backend}


@dataclass(frozen=True)
class Work:
    """What all variants train alike.

    Args:
        data: folder of the prepared faces.
        folder: a new one, for files.
        student, teacher: architectures.
        image_size, batch_size: of the views.
        faces: how many training faces.
        teacher_views: stored drawings of each, with cached teachers.
    """

    data: Path
    folder: Path
    student: str
    teacher: str
    image_size: int
    batch_size: int
    faces: int
    teacher_views: int

    def checkpoint(self, role):
        """The file of a teacher."""
        return self.folder / f"{role}.keras"

    @property
    def crops(self):
        """The folder of pictures and points that the published recipe reads."""
        return self.folder / "crops"


def installed_backends():
    """Those of `BACKENDS` that can be imported."""
    return [name for name in BACKENDS if importlib.util.find_spec(name)]


def variants_of(backend, ways, options):
    """The variants of a back end: a list of the ways by themselves, and one of what options change in them."""
    alone = [Variant(backend, way) for way in WAYS if way in ways]
    changed = [
        Variant(backend, way, (name,))
        for name, option in OPTIONS.items()
        for way in option.ways
        if name in options and way in ways and backend in option.backends
    ]
    return alone, changed
