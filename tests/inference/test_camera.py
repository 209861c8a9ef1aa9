"""Cameras: a real stream over HTTP, and recordings that are interrupted."""

import http.server
import json
import signal
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest

from kdloss.errors import ConfigError
from kdloss.inference.output import predict_video
from kdloss.inference.video import Camera, CutShort
from tests.inference.small_videos import ENVIRONMENT, picture, read_frames


class Stream(http.server.BaseHTTPRequestHandler):
    """Pictures without end, as network cameras send them. ``/short`` ends after 40, ``/stalled`` sends no more after
    150, and ``/silent`` sends none."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        try:
            for i in range({"/silent": 0, "/stalled": 150, "/short": 40}.get(self.path, 10**6)):
                jpeg = cv2.imencode(".jpg", picture(i % 100, (320, 240))[..., ::-1])[1].tobytes()
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg))
                self.wfile.write(jpeg + b"\r\n")
                time.sleep(0.02)
            if self.path in ("/stalled", "/silent"):
                self.server.stalled.set()
                self.rfile.read()
        except OSError:
            pass  # the reader has gone

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stream) as server:
        server.daemon_threads, server.stalled = True, threading.Event()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def address(server):
    return f"127.0.0.1:{server.server_port}"


def test_a_network_camera(tmp_path, address, landmarker):
    camera = Camera(f"camera:http://user:secret@{address}/stream")
    summary = predict_video(landmarker, camera, tmp_path, frames=8)
    assert summary.record.name == f"camera-http-{address.replace('.', '-').replace(':', '-')}-stream.json"
    text = summary.record.read_text()
    assert "secret" not in text
    record = json.loads(text)
    assert (record["video"], record["size"]) == (f"camera:http://{address}/stream", [320, 240])
    times = [frame["time"] for frame in record["frames"]]
    assert (len(times), times[0], np.diff(times).min() > 0) == (8, 0, True)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_camera_that_goes_away(tmp_path, address, landmarker):
    with pytest.raises(CutShort, match="gives no more pictures"):
        predict_video(landmarker, Camera(f"http://{address}/short"), tmp_path)
    assert json.loads(next(tmp_path.glob("*.json")).read_text())["cut_short"] is True


def test_the_newest_frame_comes_next(address):
    with Camera(f"http://{address}/stream") as camera:
        frames = camera.frames()
        _, before = next(frames)
        time.sleep(0.5)
        _, after = next(frames)
    # Each is 2 brighter than the last, from 198 on to 0. Had they queued up, this would be the second one.
    assert (after[:, 200:].mean() - before[:, 200:].mean()) % 200 > 6


def started(*words):
    """A process of Python."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *words], env=ENVIRONMENT, **pipes)


def test_ctrl_c_ends_a_recording_in_order(tmp_path, address):
    code = """
import sys
from kdloss.inference.video import Camera
from kdloss.inference.output import predict_video
from tests.inference.scripted_landmarker import ScriptedLandmarker
landmarker, camera = ScriptedLandmarker([20, 16, 40, 40]), Camera(sys.argv[1])
summary = predict_video(landmarker, camera, sys.argv[2], progress=lambda *how: print(*how, flush=True))
print("whole", summary.frames)
"""
    with started("-c", code, f"camera:http://{address}/stream", str(tmp_path)) as process:
        for _ in range(5):
            assert process.stdout.readline().endswith(" None\n")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    (record,) = tmp_path.glob("*.json")
    frames = json.loads(record.read_text())["frames"]
    assert len(frames) >= 5
    assert out.splitlines()[-1] == f"whole {len(frames)}"
    assert read_frames(record.with_suffix(".mp4"))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("path", "files"), [("stalled", {".json", ".csv", ".mp4"}), ("silent", set())])
def test_ctrl_c_ends_the_command_while_a_camera_gives_no_pictures(path, files, tmp_path, server, address):
    with started("-m", "kdloss.predict", f"camera:http://{address}/{path}", "--out", str(tmp_path / "out")) as process:
        assert server.stalled.wait(60)
        time.sleep(2)  # for the pictures that the command still holds
        process.send_signal(signal.SIGINT)
        asked = time.monotonic()
        out, err = process.communicate(timeout=30)
    assert time.monotonic() - asked < 6  # less than a camera has time for its next picture
    assert (process.returncode, out, err) == (130, "", "interrupted\n")
    written = {file.suffix: file for file in tmp_path.glob("out/*")}
    assert written.keys() == files
    if files:
        record = json.loads(written[".json"].read_text())
        assert record["cut_short"]
        assert 0 < len(record["frames"]) <= 150


@pytest.mark.parametrize("place", ["camera:", "camera:film.mp4", "camera:-1"])
def test_places_that_are_no_camera(place):
    with pytest.raises(ConfigError, match=f"^{place}: expected camera:NUMBER"):
        Camera(place)
