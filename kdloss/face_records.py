"""Faces as files state them: JSON objects, and rows of a CSV table."""

# Boxes and landmarks to a hundredth of a pixel, confidences to a thousandth.
_PIXELS, _SHARES = 2, 3


def face_record(face, **more):
    """A `kdloss.landmarker.Face` as a dict for JSON, ``more`` first."""
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
