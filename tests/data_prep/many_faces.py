"""Some hundred faces in one COCO-style file, with all that can be wrong with one, and a picture that can hold up."""

import io
import json
import os
import threading

import numpy as np
from PIL import Image

from data_prep.prepare import prepare

COUNT = 230  # of which 64 are a chunk
HELD = 100  # in the second chunk


def write_many_faces(folder, marked):
    """Writes ``folder``: of its faces number 5 is not labelled, 9 has no picture, 70 and 200 have names that came
    before, 150 lies outside its picture, and 151 does and has a name that came before."""
    folder.mkdir()
    images, annotations = [], []
    for seed in range(10):
        image, points = marked(5, seed)
        Image.fromarray(image).save(folder / f"{seed}.png")
        images.append((f"{seed}.png", points))
    images += [("gone.png", points), ("held.png", points)]
    (folder / "held.png").write_bytes((folder / "0.png").read_bytes())
    for number in range(COUNT):
        image = 10 if number == 9 else 11 if number == HELD else number % 10
        shift = 500 if number in (150, 151) else number % 7
        table = np.column_stack([images[image][1] + shift, np.full(5, 0 if number == 5 else 2)])
        entry = {"id": {70: 20, 200: 20, 151: 31}.get(number, number), "image_id": image}
        annotations.append(entry | {"keypoints": table.ravel().tolist(), "bbox": [1, 2, 3, number]})
    entries = [{"id": i, "file_name": name} for i, (name, _) in enumerate(images)]
    (folder / "faces.json").write_text(json.dumps({"images": entries, "annotations": annotations}))
    return folder


def hold(folder):
    """Puts a pipe in place of one picture: who reads it waits."""
    (folder / "held.png").unlink()
    os.mkfifo(folder / "held.png")
    os.utime(folder / "held.png", ns=(0, 0))


def release(folder):
    """Whoever reads the pipe from now on gets a picture; the state of the folder is as before."""
    picture = io.BytesIO()
    Image.open(folder / "0.png").save(picture, "PNG")
    os.utime(folder / "held.png", ns=(0, 0))
    threading.Thread(target=(folder / "held.png").write_bytes, args=(picture.getvalue(),), daemon=True).start()


def prepare_many(folder, out, **options):
    """Prepares them small; returns the files of the prepared folder, name -> bytes."""
    prepare("folder", folder, out, **{"size": 16} | options)
    return content(out)


def content(out):
    """Files of a prepared folder, name -> bytes."""
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}
