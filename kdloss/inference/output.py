"""Faces as files state and show them: JSON objects, rows of a CSV table, drawn on their photograph."""

import cv2
import numpy as np

LINE, POINT, BOX = (240, 228, 66), (255, 255, 255), (86, 180, 233)  # RGB, of Okabe and Ito's palette
_OUTLINE = (34, 34, 34)
_READABLE = 320  # pixels: smaller images are enlarged, or lines of a single pixel would hide the face
# Boxes and landmarks to a hundredth of a pixel, confidences to a thousandth.
_PIXELS, _SHARES = 2, 3
_SHIFT = 4  # OpenCV takes coordinates in sixteenths of a pixel


def face_record(face, **more):
    """A `kdloss.inference.landmarker.Face` as a dict for JSON, ``more`` first."""
    return {
        **more,
        "box": face.box.round(_PIXELS).tolist(),
        "score": face.score,
        "landmarks": face.landmarks.round(_PIXELS).tolist(),
        "confidence": None if face.confidence is None else face.confidence.round(_SHARES).tolist(),
    }


def csv_header(num_points, *first):
    """The names of the columns: ``first``, then those of `csv_row`: box, score, of each point x, y and confidence."""
    points = [f"{value}{i}" for i in range(num_points) for value in "xyc"]
    return [*first, "box_x", "box_y", "box_width", "box_height", "score", *points]


def csv_row(record, *first):
    """The row of a `face_record`, after what stands ``first``; empty cells for what is not known."""
    confidence = record["confidence"] or [None] * len(record["landmarks"])
    points = [value for point, sure in zip(record["landmarks"], confidence, strict=True) for value in (*point, sure)]
    return [*first, *record["box"], record["score"], *points]


def draw_faces(image, faces, scheme):
    """Draws `kdloss.inference.landmarker.Face`\\ s of a `LandmarkScheme` into a copy of an image (H, W, 3) uint8 RGB.

    Returns:
        (f H, f W, 3) uint8 RGB; f is 1, or a whole number for images with sides of 160 pixels at most.
    """
    factor = max(1, _READABLE // max(image.shape[:2]))
    drawn = np.ascontiguousarray(np.repeat(np.repeat(image, factor, axis=0), factor, axis=1))
    for face in faces:
        _draw(drawn, face, scheme, factor)
    return drawn


def _draw(drawn, face, scheme, factor):
    side = factor * float(np.sqrt(np.prod(face.box[2:])))
    thick = max(1, round(side / 150))
    x, y, width, height = face.box
    corners = np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)])
    corners, landmarks = ((points + 0.5) * factor - 0.5 for points in (corners, face.landmarks))
    _lines(drawn, [corners], BOX, thick, outlined=side >= 100)
    _lines(drawn, [landmarks[list(line)] for line in scheme.skeleton], LINE, thick, outlined=side >= 100)
    for point in _fixed(landmarks):
        # Points hide a small face; there the lines say enough, unless there are none.
        if side >= 100 or not scheme.skeleton:
            centre, radius = tuple(map(int, point)), round(max(1.0, side / 110) * 2**_SHIFT)
            cv2.circle(drawn, centre, radius, _OUTLINE, thick, cv2.LINE_AA, _SHIFT)
            cv2.circle(drawn, centre, radius, POINT, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _lines(drawn, lines, colour, thick, *, outlined):
    lines = [_fixed(line).reshape(-1, 1, 2) for line in lines]
    if outlined:  # seen on bright and dark skin alike
        cv2.polylines(drawn, lines, False, _OUTLINE, thick + 2 * max(1, thick // 2), cv2.LINE_AA, _SHIFT)
    cv2.polylines(drawn, lines, False, colour, thick, cv2.LINE_AA, _SHIFT)


def _fixed(points):
    """Points as OpenCV's integers. Far outside of the image, where nothing shows, they are held back from overflow."""
    return np.clip(np.rint(points * 2**_SHIFT), -(2**28), 2**28).astype(np.int32)
