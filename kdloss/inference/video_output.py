"""The faces of a video or a camera, frame by frame, into files that grow as the frames come."""

import contextlib
import csv
import json
from dataclasses import dataclass
from pathlib import Path

from kdloss.errors import ConfigError, deferred_interrupt
from kdloss.files import replacing
from kdloss.inference.output import csv_header, csv_row, draw_faces, face_record
from kdloss.inference.tracking import DETECT_EVERY, FaceTracker
from kdloss.inference.video import CutShort, OverlayVideo


@dataclass(frozen=True)
class VideoSummary:
    """What was found in a video."""

    frames: int  # how many were read
    faces: int  # how many were followed, the whole video through
    record: Path  # the JSON file


def predict_video(
    landmarker, source, out, *, smooth=True, detect_every=DETECT_EVERY, overlay=True, frames=None, progress=None
):
    """Follows the faces of a video and writes ``NAME.json``, ``NAME.csv`` and ``NAME.mp4``, each whole or not at all.

    Args:
        landmarker: a `kdloss.inference.landmarker.Landmarker` with a detector.
        source: a `kdloss.inference.video.VideoFile` or a `kdloss.inference.video.Camera`.
        out: folder of the results.
        smooth, detect_every: see `kdloss.inference.tracking.FaceTracker`.
        overlay: whether to write ``NAME.mp4``, the frames with the faces drawn in, without sound.
        frames: ends after so many; None reads on to the end.
        progress: called with the frames done and those expected (None: unknown) after each frame.

    Raises:
        ConfigError: a number out of range, a landmarker that cannot follow faces, or an overlay in the source's place.
        DataError: see the source.
        CutShort: the frames ended before they should, or changed their size. The files hold those until there.
    """
    if frames is not None and frames < 1:
        raise ConfigError(f"--frames {frames}: expected 1 at least")
    tracker = FaceTracker(landmarker, detect_every, smooth)
    record, table, film = (Path(out) / f"{source.result}{suffix}" for suffix in (".json", ".csv", ".mp4"))
    original = getattr(source, "path", None)
    if overlay and original and film.exists() and original.exists() and film.samefile(original):
        raise ConfigError(f"--out {out}: the overlay would overwrite {original}: give another folder, or --no-overlay")
    with deferred_interrupt() as interruption, source, contextlib.ExitStack() as files:
        head = {
            "video": source.name,
            "model": landmarker.name,
            "detector": landmarker.detector.name,
            "smoothed": smooth,
            "fps": source.fps,
            "size": list(source.size),
        }
        # First, so that it takes its place last: where it stands, all results do.
        recorder = files.enter_context(_writing(record))
        recorder.write(json.dumps(head, allow_nan=False)[:-1] + ', "frames": [')
        rows = csv.writer(files.enter_context(_writing(table)))
        rows.writerow(csv_header(landmarker.scheme.num_points, "frame", "time", "track"))
        drawn = overlay and files.enter_context(OverlayVideo(files.enter_context(replacing(film)), source.fps))
        expected = source.total if frames is None else min(frames, source.total or frames)
        count, coming, cut_short = 0, source.frames(), None
        while count != frames and not interruption.asked:
            try:
                time, image = next(coming)
                if image.shape[1::-1] != source.size:
                    raise CutShort(f"{source.name}: frames change from {source.size} to {image.shape[1::-1]} pixels")
            except StopIteration:
                break
            except CutShort as error:
                cut_short = error
                break
            found = tracker.update(image, time)
            records = [face_record(tracked.face, track=tracked.track_id) for tracked in found]
            frame = {"frame": count, "time": round(time, 4), "faces": records}
            recorder.write(f"{',' if count else ''}\n{json.dumps(frame, allow_nan=False)}")
            rows.writerows(csv_row(face, count, frame["time"], face["track"]) for face in records)
            if drawn:
                drawn.write(draw_faces(image, [tracked.face for tracked in found], landmarker.scheme), time)
            count += 1
            if progress:
                progress(count, expected)
        ended_early = cut_short is not None or interruption.asked
        recorder.write(f'\n], "cut_short": {json.dumps(ended_early)}}}\n')
    if cut_short:
        raise CutShort(f"{cut_short} The results of {count} frames -> {record}")
    return VideoSummary(count, tracker.count, record)


@contextlib.contextmanager
def _writing(path):
    with replacing(path) as work, open(work, "w", encoding="utf-8", newline="") as file:
        yield file
