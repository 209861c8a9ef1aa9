"""The folders of `tools/own_faces.py` are read as a user's own."""

import numpy as np

from data_prep.folder import read_folder
from tools.own_faces import NAMES, main


def test_points_and_pictures_are_those_of_the_prepared_faces(make_prepared, tmp_path):
    faces = make_prepared("300w")
    main(["--data", str(faces.path), "--out", str(tmp_path / "own"), "--count", "2"])
    for folder, split, count in (("faces", "val", 2), ("held-out", "test", len(faces.indices("test")))):
        raw = read_folder(tmp_path / "own" / folder)
        assert raw.scheme.names == tuple(NAMES)
        assert (raw.scheme.ocular, raw.scheme.mirrorable) == ((6, 8), True)
        assert len(raw.entries) == count
        known = faces.points[faces.indices(split)][:, [faces.scheme.names.index(name) for name in NAMES]]
        for face in raw.entries:
            distances = np.abs(known - face.points).max(axis=(1, 2))
            assert distances.min() < 1e-4
            assert np.array_equal(face.image, faces.faces[faces.indices(split)[distances.argmin()]])
