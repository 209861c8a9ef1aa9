"""What is written of videos: records, tables and overlays."""

import csv
import json
import os

import numpy as np
import pytest

from kdloss.errors import ConfigError, UserError
from kdloss.inference.output import OverlayVideo, predict_video
from kdloss.inference.video import CutShort, VideoFile
from tests.browser import headless_chromium
from tests.inference.conftest import FACE
from tests.inference.small_videos import cut, picture, read_frames, write_video


def test_an_overlay_shows_each_frame_once_and_pads_odd_sides(tmp_path):
    with OverlayVideo(tmp_path / "a.mp4", 30000 / 1001) as overlay:
        for i in range(40):
            # As cameras stamp them: not quite evenly.
            overlay.write(picture(i, (95, 63)), (i + 0.3 * (-1) ** i) * 1001 / 30000)
    frames = read_frames(tmp_path / "a.mp4")
    assert [round(image[:, 60:].mean() / 2) for _, image in frames] == pytest.approx(list(range(40)), abs=2)
    assert frames[0][1].shape == (64, 96, 3)
    assert frames[30][0] == pytest.approx(30 / 29.97, abs=0.01)


def test_an_overlay_keeps_pace_with_irregular_frames(tmp_path):
    with OverlayVideo(tmp_path / "a.mp4", 10) as overlay:
        for i, seconds in enumerate([0.0, 0.02, 0.04, 1.0, 2.0, 1e6]):
            overlay.write(picture(20 * i), seconds)
    shown = np.array([round(image[:, 60:].mean() / 40) for _, image in read_frames(tmp_path / "a.mp4")])
    assert 10 <= np.argmax(shown == 3) <= 11
    assert 20 <= np.argmax(shown == 4) <= 21
    assert len(shown) < 140


def test_an_overlay_on_a_full_disk_is_an_error(small_disk):
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
    with pytest.raises(UserError, match="cannot be written whole"), OverlayVideo(small_disk / "a.mp4", 25) as overlay:
        overlay.write(noise, 0.0)


def test_writes_record_table_and_overlay(tmp_path, landmarker):
    path, done = write_video(tmp_path / "talk.mp4", count=20), []
    out = tmp_path / "out"
    summary = predict_video(landmarker, VideoFile(path), out, detect_every=8, progress=lambda *how: done.append(how))
    assert (summary.frames, summary.faces, summary.record) == (20, 1, out / "talk.json")
    assert done == [(i + 1, 20) for i in range(20)]
    assert sorted(file.name for file in out.iterdir()) == ["talk.csv", "talk.json", "talk.mp4"]

    record = json.loads(summary.record.read_text(encoding="utf-8"))
    frames = record.pop("frames")
    expected = {"video": "talk.mp4", "model": "scripted", "detector": "scripted", "smoothed": True, "fps": 25.0}
    assert record == expected | {"size": [96, 64], "cut_short": False}
    assert [frame["frame"] for frame in frames] == list(range(20))
    assert [frame["time"] for frame in frames] == pytest.approx(np.arange(20) / 25)
    for frame in frames:
        (face,) = frame["faces"]
        assert list(face) == ["track", "box", "score", "turn", "pose", "landmarks", "confidence"]
        assert (face["track"], face["box"], face["confidence"]) == (0, FACE.tolist(), [0.9] * 5)
        assert face["score"] == (None if frame["frame"] % 8 else 9.0)

    with open(out / "talk.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["frame"], row["time"], row["track"]) for row in rows[:2]] == [("0", "0.0", "0"), ("1", "0.04", "0")]
    assert [float(rows[5][name]) for name in ("box_x", "box_y", "box_width", "box_height")] == FACE.tolist()
    assert len(rows) == 20

    overlay = read_frames(out / "talk.mp4")
    assert len(overlay) == 20
    assert (overlay[0][1][..., 1] > 60).any()  # lines of the face: the film itself shows no green


@pytest.mark.slow
def test_a_browser_plays_the_overlay(tmp_path, landmarker):
    predict_video(landmarker, VideoFile(write_video(tmp_path / "talk.avi", count=20, codec="MJPG")), tmp_path)
    (tmp_path / "page.html").write_text("<video src='talk.mp4' muted></video>")
    with headless_chromium(tmp_path / "profile") as browser:
        browser.visit((tmp_path / "page.html").as_uri())
        played = browser.run("""new Promise((resolve, reject) => {
            const video = document.querySelector("video");
            video.onended = () => resolve([video.videoWidth, video.videoHeight, video.duration, video.readyState]);
            video.play().catch(reject);
        })""")
    assert played == [3 * 96, 3 * 64, pytest.approx(20 / 25, abs=0.01), 4]  # small frames are drawn larger


def test_a_name_that_is_no_utf_8(tmp_path, landmarker):
    path = write_video(tmp_path / "talk.mp4", count=2).rename(tmp_path / os.fsdecode(b"\xff.mp4"))
    summary = predict_video(landmarker, VideoFile(path), tmp_path / "out")
    assert summary.frames == 2
    assert json.loads(summary.record.read_text())["video"] == path.name
    assert (tmp_path / "out" / path.name).is_file()


def test_no_overlay_no_smoothing_and_so_many_frames(tmp_path, landmarker):
    film = VideoFile(write_video(tmp_path / "talk.mp4", count=20), "talks/talk.mp4", "talks/talk")
    summary = predict_video(landmarker, film, tmp_path / "out", smooth=False, overlay=False, frames=3)
    assert sorted(file.name for file in (tmp_path / "out/talks").iterdir()) == ["talk.csv", "talk.json"]
    record = json.loads(summary.record.read_text())
    assert (record["video"], record["smoothed"], record["cut_short"]) == ("talks/talk.mp4", False, False)
    assert len(record["frames"]) == 3


def test_the_frames_of_a_cut_video_are_kept(tmp_path, landmarker):
    path = cut(write_video(tmp_path / "a.avi", codec="MJPG"), 0.6)
    with pytest.raises(CutShort, match=r"a\.avi: ends after .* frames -> .*a\.json"):
        predict_video(landmarker, VideoFile(path), tmp_path / "out")
    record = json.loads((tmp_path / "out/a.json").read_text())
    assert record["cut_short"] is True
    assert 15 < len(record["frames"]) < 35
    assert len(read_frames(tmp_path / "out/a.mp4")) == len(record["frames"])


def test_failure_and_interrupt_leave_no_files(tmp_path, landmarker):
    def interrupt(done, total):
        if done == 3:
            raise KeyboardInterrupt

    path = write_video(tmp_path / "a.mp4")
    with pytest.raises(KeyboardInterrupt):
        predict_video(landmarker, VideoFile(path), tmp_path / "out", progress=interrupt)
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(ConfigError, match=r"a\.mp4 would be overwritten"):
        predict_video(landmarker, VideoFile(path), tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.mp4", "out"]


def test_only_earlier_results_are_replaced(tmp_path, landmarker):
    film = VideoFile(write_video(tmp_path / "a.avi", codec="MJPG", count=2))
    for _ in range(2):
        predict_video(landmarker, film, tmp_path / "out")
    for name in ("a.json", "a.csv", "a.mp4"):
        kept = (tmp_path / "out" / name).read_bytes()
        (tmp_path / "out" / name).write_bytes(b"mine")
        with pytest.raises(ConfigError, match=f"{name} exists, and no earlier results"):
            predict_video(landmarker, film, tmp_path / "out")
        (tmp_path / "out" / name).write_bytes(kept)
