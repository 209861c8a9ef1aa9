"""Faces in files: JSON objects, rows of a CSV table, drawings, and all of these for a video."""

import contextlib
import csv
import itertools
import json
import re
import signal
import struct
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from kdloss.data.geometry import turning
from kdloss.errors import ConfigError, UserError, deferred_interrupt
from kdloss.files import replacing, require_replaceable
from kdloss.inference.pose import Pose
from kdloss.inference.tracking import DETECT_EVERY, FaceTracker
from kdloss.inference.video import FALLBACK_FPS, CutShort, silence_opencv
from kdloss.names import TEXT, library_path

LINE, POINT, BOX = (240, 228, 66), (255, 255, 255), (86, 180, 233)  # RGB, of Okabe and Ito's palette
_OUTLINE = (34, 34, 34)
_READABLE = 320  # pixels; smaller images are enlarged, because lines of one pixel would hide the face
_PIXEL_DIGITS, _ANGLE_DIGITS, _CONFIDENCE_DIGITS = 2, 1, 3
_SHIFT = 4  # OpenCV takes coordinates in sixteenths of a pixel
_MAX_SIDE = 16384  # pixels, of a frame of VP9
_LONGEST_STILL = 10.0  # seconds that a video shows one frame at most
# In every drawing, in a place that no viewer shows; `WRITTEN` finds it, and how records and tables begin.
_MARK = "faces found by kdloss.predict"
WRITTEN = re.compile(
    rb'\A\{"(image|video)": ".*?", "model": |\A(image,face|frame,time,track),box_x,|' + _MARK.encode(), re.DOTALL
)


@dataclass(frozen=True)
class VideoSummary:
    """The numbers of frames and of different faces in a video, and the JSON file that describes them."""

    frames: int
    faces: int
    record: Path


def result_files(out, source, overlay=True):
    """The files in ``out`` with the faces of a source: the record, then for frames a table, and with ``overlay`` the
    drawing."""
    suffixes = [".json"] if source.kind == "photograph" else [".json", ".csv"]
    if overlay:
        jpeg = source.kind == "photograph" and source.path.suffix.lower() in (".jpg", ".jpeg")
        suffixes.append(".jpg" if jpeg else ".png" if source.kind == "photograph" else ".mp4")
    return [Path(out) / f"{source.result}{suffix}" for suffix in suffixes]


def predict_video(
    landmarker, source, out, *, smooth=True, detect_every=DETECT_EVERY, overlay=True, frames=None, progress=None
):
    """Follows the faces of a video and writes ``NAME.json``, ``NAME.csv`` and ``NAME.mp4``, each whole or not at all.

    Ctrl-C ends the recording of a camera in order. A video, and a camera that gives no more pictures, end in order too,
    and then `KeyboardInterrupt` is raised.

    Args:
        landmarker: a `kdloss.inference.landmarker.Landmarker` with a detector.
        source: a `kdloss.inference.video.VideoFile` or a `kdloss.inference.video.Camera`.
        out: folder of the results.
        smooth, detect_every: see `kdloss.inference.tracking.FaceTracker`.
        overlay: whether to write ``NAME.mp4``, the frames with the faces drawn in, without sound.
        frames: how many to read at most, 1 or more; None: all.
        progress: called with the frames done and those expected (None: unknown) after each frame.

    Raises:
        ConfigError: a landmarker that cannot follow faces, or a file that would overwrite the source or another's.
        DataError: see the source.
        CutShort: the frames ended too early, or changed their size. The files hold the frames before that.
    """
    tracker = FaceTracker(landmarker, detect_every, smooth)
    record, table, *film = result_files(out, source, overlay)
    require_replaceable([record, table, *film], [source.path] if source.kind == "video" else [], WRITTEN)
    # Opening the source may be interrupted at once; later, the files are completed first.
    with source, deferred_interrupt() as interruption, contextlib.ExitStack() as files:
        head = {"video": source.name, "model": landmarker.name, "detector": landmarker.detector.name}
        head |= {"smoothed": smooth, "fps": source.fps, "size": list(source.size)}
        # Opened first, so that it appears last: where it exists, all results do.
        recorder = files.enter_context(_writing(record))
        recorder.write(json.dumps(head, allow_nan=False)[:-1] + ', "frames": [')
        rows = csv.writer(files.enter_context(_writing(table)))
        rows.writerow(csv_header(landmarker.scheme.num_points, "frame", "time", "track"))
        overlay_video = overlay and files.enter_context(OverlayVideo(files.enter_context(replacing(*film)), source.fps))
        expected = source.total if frames is None else min(frames, source.total or frames)
        count, cut_short = 0, None
        try:
            for time, image in itertools.islice(source.frames(lambda: interruption.asked), frames):
                if image.shape[1::-1] != source.size:
                    raise CutShort(f"{source.name}: frames change from {source.size} to {image.shape[1::-1]} pixels")
                tracked = tracker.update(image, time)
                records = [face_record(face, track=track_id) for track_id, face in tracked]
                frame = {"frame": count, "time": round(time, 4), "faces": records}
                recorder.write(f"{',' if count else ''}\n{json.dumps(frame, allow_nan=False)}")
                rows.writerows(csv_row(face, count, frame["time"], face["track"]) for face in records)
                if overlay_video:
                    overlay_video.write(draw_faces(image, [face for _, face in tracked], landmarker.scheme), time)
                count += 1
                if progress:
                    progress(count, expected)
                if interruption.asked:
                    if source.kind == "camera" and interruption.number == signal.SIGINT:
                        interruption.number = None  # a camera that gives pictures has no other end
                    break
        except CutShort as error:
            cut_short = error
        ended_early = cut_short is not None or interruption.asked
        recorder.write(f'\n], "cut_short": {json.dumps(ended_early)}}}\n')
    if cut_short:
        raise CutShort(f"{cut_short} The results of {count} frames -> {record}")
    return VideoSummary(count, tracker.count, record)


def face_record(face, **more):
    """A `kdloss.inference.landmarker.Face` as a dict for JSON, after the entries ``more``."""
    return {
        **more,
        "box": face.box.round(_PIXEL_DIGITS).tolist(),
        "score": None if face.score is None else round(face.score, _CONFIDENCE_DIGITS),
        "turn": round(face.turn, _CONFIDENCE_DIGITS) + 0.0,  # no -0.0
        "pose": face.pose and {name: round(angle, _ANGLE_DIGITS) + 0.0 for name, angle in face.pose._asdict().items()},
        "landmarks": face.landmarks.round(_PIXEL_DIGITS).tolist(),
        "confidence": None if face.confidence is None else face.confidence.round(_CONFIDENCE_DIGITS).tolist(),
    }


def csv_header(num_points, *first):
    """The columns of `csv_row`: ``first``, then box, score, pose, and x, y and confidence (c) of each point."""
    points = [f"{value}{i}" for i in range(num_points) for value in "xyc"]
    return [*first, "box_x", "box_y", "box_width", "box_height", "score", *Pose._fields, *points]


def csv_row(record, *first):
    """The row of a `face_record`, after the values ``first``. Unknown values are empty cells."""
    confidences = record["confidence"] or [None] * len(record["landmarks"])
    points = [(*point, confidence) for point, confidence in zip(record["landmarks"], confidences, strict=True)]
    pose = (record["pose"] or dict.fromkeys(Pose._fields)).values()
    return [*first, *record["box"], record["score"], *pose, *(value for point in points for value in point)]


def save_drawing(path, drawing):
    """Writes a drawing (H, W, 3) uint8 RGB as a picture; the suffix of the path says of which kind."""
    info = PngInfo()
    info.add_text("Comment", _MARK)
    Image.fromarray(drawing).save(path, quality=92, comment=_MARK, pnginfo=info)


def draw_faces(image, faces, scheme):
    """Draws `kdloss.inference.landmarker.Face`\\ s of a `LandmarkScheme` into a copy of an image (H, W, 3) uint8 RGB.

    Returns:
        (f H, f W, 3) uint8 RGB. The factor f is 1 for images with a side above 160 pixels, else a whole number.
    """
    factor = max(1, _READABLE // max(image.shape[:2]))
    drawing = np.ascontiguousarray(np.repeat(np.repeat(image, factor, axis=0), factor, axis=1))
    for face in faces:
        _draw(drawing, face, scheme, factor)
    return drawing


class OverlayVideo:
    """Writes a video (VP9 in ``.mp4``, which browsers play) of frames that come with their times.

    Each frame is shown from its time on until the next one, whatever the rate of the video; frames that come faster
    than that rate are left out.

    Raises:
        ConfigError: from ``write()``: frames larger than `_MAX_SIDE`.
        UserError: the file cannot be written there, or not whole, as on a full disk.
    """

    def __init__(self, path, fps):
        # OpenCV stores no finer fractions.
        self._path, self._fps = path, round(fps or FALLBACK_FPS, 3)
        self._writer, self._count, self._shift = None, 0, 0.0

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self._writer:
            self._writer.release()  # raises no error if frames could not be written
            with library_path(self._path) as path:
                capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
            written = capture.get(cv2.CAP_PROP_FRAME_COUNT)
            capture.release()
            if kind is None and written != self._count:
                raise UserError("the overlay cannot be written whole: is there space left on the disk?")
            with open(self._path, "ab") as file:  # a box that players skip
                file.write(struct.pack(">I4s", 8 + len(_MARK), b"free") + _MARK.encode())

    def write(self, picture, time):
        """Adds a picture (H, W, 3) uint8 RGB, always of the same size; ``time`` in seconds, later than the last one."""
        # Colours are stored for two pixels by two, so sides are even.
        height, width = picture.shape[:2]
        picture = cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        if self._writer is None:
            self._writer = self._opened(picture.shape[1], picture.shape[0])
        missing = (time - self._shift) * self._fps - self._count  # frames between the end of the video and ``time``
        too_long = missing / self._fps - _LONGEST_STILL
        if too_long > 0:
            self._shift += too_long
            missing = _LONGEST_STILL * self._fps
        for _ in range(int(missing)):
            self._put(self._last)
        if missing > -1:  # else the video is a whole frame ahead
            self._put(picture)
        self._last = picture

    def _put(self, picture):
        self._writer.write(picture)
        self._count += 1

    def _opened(self, width, height):
        silence_opencv()
        if max(width, height) > _MAX_SIDE:
            raise ConfigError(f"overlay: frames of {width} x {height}, expected {_MAX_SIDE} at most: give --no-overlay")
        codec = cv2.VideoWriter_fourcc(*"vp09")
        with library_path(self._path) as path:
            writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, codec, self._fps, (width, height))
        if not writer.isOpened():
            raise UserError("the overlay cannot be written: give another --out, or --no-overlay")
        return writer


@contextlib.contextmanager
def _writing(path):
    with replacing(path) as work, open(work, "w", newline="", **TEXT) as file:
        yield file


def _draw(drawing, face, scheme, factor):
    side = factor * float(np.sqrt(np.prod(face.box[2:])))
    thick = max(1, round(side / 150))
    x, y, width, height = face.box
    corners = np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)])
    corners, landmarks = ((points + 0.5) * factor - 0.5 for points in (corners, face.landmarks))
    _lines(drawing, [corners], BOX, thick, outlined=side >= 100)
    _lines(drawing, [landmarks[list(line)] for line in scheme.skeleton], LINE, thick, outlined=side >= 100)
    if face.pose and side >= 100:
        # Where the head looks: a line from the middle of the face towards the viewer.
        yaw, pitch, roll = np.radians(face.pose)
        ahead = turning(roll)[:, :2] @ (np.sin(yaw), -np.sin(pitch) * np.cos(yaw)) * side / 2
        _lines(drawing, [landmarks.mean(axis=0) + np.array([(0, 0), ahead])], BOX, thick, outlined=True)
    for point in _fixed_point(landmarks):
        # Points would hide a small face; there the lines are enough, unless the scheme has none.
        if side >= 100 or not scheme.skeleton:
            centre, radius = tuple(map(int, point)), round(max(1.0, side / 110) * 2**_SHIFT)
            cv2.circle(drawing, centre, radius, _OUTLINE, thick, cv2.LINE_AA, _SHIFT)
            cv2.circle(drawing, centre, radius, POINT, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _lines(drawing, lines, colour, thick, *, outlined):
    lines = [_fixed_point(line).reshape(-1, 1, 2) for line in lines]
    if outlined:  # to be seen on bright and on dark skin
        cv2.polylines(drawing, lines, False, _OUTLINE, thick + 2 * max(1, thick // 2), cv2.LINE_AA, _SHIFT)
    cv2.polylines(drawing, lines, False, colour, thick, cv2.LINE_AA, _SHIFT)


def _fixed_point(points):
    """Points as OpenCV's integers, clipped far outside of the image against overflow."""
    return np.clip(np.rint(points * 2**_SHIFT), -(2**28), 2**28).astype(np.int32)
