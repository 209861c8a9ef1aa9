"""Videos: real files of OpenCV's encoders, whole and damaged."""

import struct

import cv2
import numpy as np
import pytest

from kdloss.errors import DataError
from kdloss.inference.video import VideoFile
from tests.inference.small_videos import SIZE, cut, read_frames, run, write_video


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.webm", "VP90")])
def test_reads_frames_upright_in_rgb_with_their_times(tmp_path, name, codec):
    with VideoFile(write_video(tmp_path / name, count=12, codec=codec)) as video:
        assert (video.name, video.result, video.size, video.fps, video.total) == (name, "a", SIZE, 25, 12)
        frames = list(video.frames())
    assert [time for time, _ in frames] == pytest.approx(np.arange(12) / 25, abs=2e-3)
    for i, (_, image) in enumerate(frames):
        assert (image.shape, image.dtype) == ((64, 96, 3), np.uint8)
        assert image[20:40, 60:80].mean() == pytest.approx(2 * i, abs=6)
        assert image[20:40, 10:30, 0].mean() == pytest.approx(200, abs=10)


def test_turns_frames_as_the_camera_was_held(tmp_path):
    path = write_video(tmp_path / "phone.mp4", count=3)
    content = bytearray(path.read_bytes())
    matrix = content.find(b"tkhd") + 44
    assert struct.unpack(">9i", content[matrix : matrix + 36])[0] == 1 << 16
    # Shown after a quarter turn clockwise.
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, SIZE[1] << 16, 0, 1 << 30)
    path.write_bytes(content)
    with VideoFile(path) as video:
        assert video.size == (64, 96)
        (_, image), *_ = video.frames()
    assert image[10:30, 20:40, 0].mean() == pytest.approx(200, abs=10)
    assert image[60:80, 20:40, 0].mean() < 50


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read"), (b"", "an empty file"), (b"no video\n" * 100, "no video that can be opened")],
)
def test_files_that_are_no_video(tmp_path, content, words):
    path = tmp_path / "film.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=words), VideoFile(path):
        pass


def test_times_always_increase(tmp_path, monkeypatch):
    path, stamps = write_video(tmp_path / "a.mp4", count=5), iter([40.0, 0.0, 0.0, 500.0, 0.0])

    class Stamped:
        def __init__(self, *how):
            self.capture = real(*how)

        def get(self, what):
            return next(stamps) if what == cv2.CAP_PROP_POS_MSEC else self.capture.get(what)

        def __getattr__(self, name):
            return getattr(self.capture, name)

    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", Stamped)
    assert [time for time, _ in read_frames(path)] == pytest.approx([0, 0.04, 0.08, 0.12, 0.5])


def test_libraries_write_no_messages(tmp_path):
    code = """
import sys
from kdloss.inference.video import Camera
from kdloss.errors import DataError
from kdloss.inference.video import VideoFile
for source in (*map(VideoFile, sys.argv[1:]), Camera("camera:63"), Camera("rtsp://user:secret@127.0.0.1:9/")):
    try:
        with source:
            print(sum(1 for _ in source.frames()))
    except DataError as error:
        print(error)
"""
    # An mp4 without its end has no index.
    kinds = (("a.mp4", "mp4v"), ("a.mkv", "XVID"))
    finished = run(code, *(cut(write_video(tmp_path / name, codec=codec), 0.6) for name, codec in kinds))
    assert finished.stderr == ""
    mp4, mkv, device, address = finished.stdout.splitlines()
    assert "a.mp4: no video that can be opened" in mp4
    assert "a.mkv: ends after" in mkv
    assert device == "camera:63: cannot be opened: is it there, and does no other program use it?"
    assert address.startswith("camera:rtsp://127.0.0.1:9/: cannot be opened")
