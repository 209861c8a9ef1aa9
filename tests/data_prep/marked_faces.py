"""Small files of faces whose landmarks are white pixels."""

import numpy as np
from PIL import Image


def marked(num_points, seed=0, width=120, height=90):
    """An RGB image and the (N, 2) points at which its white pixels are."""
    rng = np.random.default_rng(seed)
    flat = rng.choice((width - 40) * (height - 40), num_points, replace=False)
    points = np.stack([flat % (width - 40), flat // (width - 40)], axis=-1) + 20
    image = np.full((height, width, 3), 40, np.uint8)
    image[points[:, 1], points[:, 0]] = 255
    return image, points.astype(np.float32)


def at_marks(face):
    """True if every point of a face lies on a white pixel of its image."""
    x, y = np.rint(face.points).astype(int).T
    return bool((face.image[y, x] > 200).all())


def write_pts(path, points):
    """Writes 0-based points to a .pts file."""
    lines = "".join(f"{x + 1:.3f} {y + 1:.3f}\n" for x, y in points)
    path.write_text(f"version: 1\nn_points: {len(points)}\n{{\n{lines}}}\n")


def write_face(path, num_points=68, seed=0):
    """Writes an image and its .pts file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image, points = marked(num_points, seed)
    Image.fromarray(image).save(path)
    write_pts(path.with_suffix(".pts"), points)
