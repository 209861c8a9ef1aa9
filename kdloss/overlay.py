"""Faces drawn on their photograph: box, skeleton and points, as thick as suits the size of the face."""

import cv2
import numpy as np

LINE, POINT, BOX = (240, 228, 66), (255, 255, 255), (86, 180, 233)  # RGB, of Okabe and Ito's palette
_OUTLINE = (34, 34, 34)
_READABLE = 320  # pixels: smaller images are enlarged, or lines of a single pixel would hide the face
_SHIFT = 4  # OpenCV takes coordinates in sixteenths of a pixel


def draw_faces(image, faces, scheme):
    """Draws faces.

    Args:
        image: (H, W, 3) uint8 RGB; stays as it is.
        faces: `kdloss.landmarker.Face`\\ s.
        scheme: the `LandmarkScheme` of their landmarks, whose skeleton is drawn.

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
