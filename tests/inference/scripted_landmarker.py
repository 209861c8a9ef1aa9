"""A landmarker that reads faces off a script instead of a picture, so that tests can say what is there to find."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from kdloss.data.geometry import BoxPolicy, box_iou, landmark_box
from kdloss.data.schemes import LandmarkScheme
from kdloss.inference.landmarker import Face

CORNERS = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0.5, 0.5)])
SCHEME = LandmarkScheme("five", ("a", "b", "c", "d", "e"), skeleton=((0, 1, 2, 3, 0),), mirrorable=False)


def landmarks_of(box):
    """Five landmarks whose landmark box is ``box``."""
    return np.asarray(box[:2], float) + CORNERS * box[2:]


class ScriptedLandmarker:
    """Finds the faces in ``faces``, a list of boxes, wherever it looks near them."""

    name, scheme, policy = "scripted", SCHEME, BoxPolicy()

    def __init__(self, *faces, sure=None):
        self.faces, self.sure, self.blind = list(faces), sure, False  # blind: the detector misses all faces
        self.detector = SimpleNamespace(name="scripted")
        self.confidence = None if sure is None else SimpleNamespace(face=0.3)
        self.turn = 0.0  # of all faces, as the detector sees them
        self.detections, self.boxes, self.turns = 0, None, None  # the number of searches; boxes of the last reading

    def detect(self, image):
        self.detections += 1
        return [] if self.blind else [replace(self.face(box, 9.0), turn=self.turn) for box in self.faces]

    def in_boxes(self, image, boxes, scores=None):
        self.boxes, self.turns = np.array(boxes)[:, :4], np.array(boxes)[:, 4].tolist()
        faces = [self.face(max(self.faces, key=lambda face, box=box: box_iou(face, box))) for box in boxes]
        return [replace(face, turn=turn) for face, turn in zip(faces, self.turns, strict=True)]

    def face(self, box, score=None):
        """The `Face` in a box."""
        landmarks = landmarks_of(box)
        return Face(landmark_box(landmarks), score, landmarks, None if self.sure is None else np.full(5, self.sure))
