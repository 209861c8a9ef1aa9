"""Writes faces of a prepared data set as a user's own: pictures, and a CSV file with 21 of the 68 points.

python tools/own_faces.py --data data/300w --out own --count 60

``own/faces`` holds that many validation faces, which did not train the shipped model; ``own/held-out`` all test faces.
README.md names what `--recipe own` makes of the first on the second.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from PIL import Image

from kdloss.data.prepared import PreparedDataset

NAMES = [
    *(f"{side}_brow_{i}" for side in ("right", "left") for i in (0, 2, 4)),
    *(f"{side}_eye_{corner}" for side in ("right", "left") for corner in ("outer", "inner")),
    *("nose_bridge_0", "nose_bridge_3", "right_nostril_0", "nose_base", "left_nostril_0"),
    *("right_mouth_corner", "upper_lip", "left_mouth_corner", "inner_upper_lip", "lower_lip", "chin"),
]


def write(prepared, rows, folder, below="."):
    """Writes the stored crops of faces and ``faces.csv``; the pictures lie in the folder ``below``."""
    points = [prepared.scheme.names.index(name) for name in NAMES]
    (folder / below).mkdir(parents=True)
    with open(folder / "faces.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["image", *(f"{name}_{axis}" for name in NAMES for axis in "xy")])
        for row in rows:
            name = f"{below}/{prepared.table['name'][row].replace('/', '-')}.png"
            Image.fromarray(np.array(prepared.faces[row])).save(folder / name)
            table.writerow([name, *prepared.points[row, points].ravel().tolist()])


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("data/300w"), help="prepared 300-W (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--count", type=int, default=60, help="own faces (default: %(default)s)")
    args = parser.parse_args(argv)
    prepared = PreparedDataset(args.data)
    chosen = np.random.default_rng(0).permutation(prepared.indices("val"))[: args.count]
    write(prepared, chosen, args.out / "faces")
    write(prepared, prepared.indices("test"), args.out / "held-out", "test")


if __name__ == "__main__":
    main()
