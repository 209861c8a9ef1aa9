"""What the running server answers, over HTTP."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kdloss.data.images import read_image
from kdloss.inference.landmarker import Landmarker
from kdloss.inference.output import face_record
from kdloss.serving.application import LARGEST_BODY, PAGE
from tests.serving.conftest import MODELS, file_of

EYES_AND_MOUTH = np.array([(203, 102), (247, 103), (224, 144)])  # of the astronaut


def timeless(answer):
    """An answer without what differs from run to run."""
    return {name: value for name, value in answer.items() if name != "milliseconds"}


def test_models_are_described(server):
    status, headers, body = server.ask("GET", "/api/models")
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    found = json.loads(body)
    assert [model["name"] for model in found] == list(MODELS)
    for model in found:
        skeleton = model.pop("skeleton")
        assert skeleton[0] == list(range(17))
        expected = {"arch": "mobilenetv2-fpn", "dataset": "300w", "points": 68, "image_size": 224}
        expected |= {"detector": "blazeface"}
        assert model == expected | {"name": model["name"]}


@pytest.mark.parametrize("name", MODELS)
def test_answers_are_what_the_landmarker_finds(server, photograph, name):
    status, answer = server.landmarks(photograph, model=name)
    assert status == 200
    faces = [face_record(face) for face in Landmarker.load(name, threads=1).detect(read_image(photograph))]
    expected = {"image": {"width": 512, "height": 512}, "model": name, "detector": "blazeface", "faces": faces}
    assert timeless(answer) == expected | {"least_confidence": 0.4865}
    points = np.array(faces[0]["landmarks"])
    found = np.array([points[36:42].mean(axis=0), points[42:48].mean(axis=0), points[48:68].mean(axis=0)])
    assert np.abs(found - EYES_AND_MOUTH).max() < 6
    times = answer["milliseconds"]
    assert times["total"] == pytest.approx(times["read"] + times["detection"] + times["landmarks"], abs=0.05)


def test_boxes_take_the_place_of_the_detector(server, photograph):
    boxes = [[180, 88, 90, 90], [300, 300, 60, 80]]
    status, answer = server.landmarks(photograph, boxes=json.dumps(boxes))
    assert (status, answer["model"]) == (200, MODELS[0])  # the first, if none is named
    assert (answer["detector"], answer["milliseconds"]["detection"]) == ("boxes", None)
    faces = Landmarker.load(MODELS[0], None, threads=1).in_boxes(read_image(photograph), boxes)
    assert answer["faces"] == [face_record(face) for face in faces]
    assert server.landmarks(photograph, boxes="[]")[1]["faces"] == []


def test_a_picture_without_a_face_is_no_error(server):
    status, answer = server.landmarks(file_of(np.full((60, 240, 3), 128, np.uint8), "PNG"))
    assert (status, answer["image"], answer["faces"]) == (200, {"width": 240, "height": 60}, [])


def test_bad_pictures_are_refused_in_one_line(server):
    status, answer = server.landmarks(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    assert (status, list(answer)) == (400, ["error"])
    assert "not an image of a known format" in answer["error"]
    assert "\n" not in answer["error"]


def test_bad_boxes_are_refused(server, photograph):
    for boxes in ("", "{}", "[[1, 2, NaN, 4]]", "[" * 9000, "[[600, 0, 9, 9]]"):
        status, answer = server.landmarks(photograph, boxes=boxes)
        assert (status, answer["error"][:3]) == (400, "box"), boxes


def test_a_body_over_the_limit_is_refused(server):
    stated = {"Content-Length": str(LARGEST_BODY + 1)}
    assert server.landmarks(b"", stated) == (413, {"error": "image: expected a file of 20 MB at most: scale it down"})
    parts = [b"\0" * 10**6] * (LARGEST_BODY // 10**6) + [b"\0"]
    assert server.landmarks(parts, {"Transfer-Encoding": "chunked"})[0] == 413
    # One byte less is read, and found to be no picture.
    assert server.landmarks(parts[:-1], {"Transfer-Encoding": "chunked"})[0] == 400


def test_unknown_models_and_paths_are_json_errors(server, photograph):
    status, answer = server.landmarks(photograph, model="nobody")
    assert (status, answer) == (404, {"error": f"model nobody: expected one of {', '.join(MODELS)}"})
    missing = [("GET", path, 404) for path in ("/api/nothing", "/static/nothing.js", "/static/")]
    for method, path, expected in [("GET", "/api/landmarks", 405), ("DELETE", "/static/app.js", 405), *missing]:
        status, _, body = server.ask(method, path)
        assert status == expected, (method, path)
        assert list(json.loads(body)) == ["error"]


def test_no_file_outside_of_the_page_is_read(server):
    inside = ("../application.py", "%2e%2e%2fapplication.py", "..%5capplication.py", "/etc/passwd", "app.js%00.css")
    for path in (*(f"/static/{name}" for name in inside), "//etc/passwd"):
        status, _, body = server.ask("GET", path)
        assert status in (400, 404), (path, body)


def test_the_page_and_its_files_come_with_their_protection(server):
    for path in ("/", *(f"/static/{file.name}" for file in PAGE.iterdir())):
        status, headers, body = server.ask("GET", path)
        assert status == 200
        assert body == (PAGE / (path.rpartition("/")[2] or "index.html")).read_bytes()
        policy = headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")


def test_other_names_for_this_host_are_refused(server):
    for host in ("localhost", f"localhost:{server.port}", "127.0.0.1", f"[::1]:{server.port}"):
        assert server.ask("GET", "/", host=host)[0] == 200, host
    for host in ("faces.invalid", f"faces.invalid:{server.port}", "localhost.faces.invalid", "127.0.0.1.nip.io", ""):
        assert server.ask("GET", "/", host=host)[0] == 400, host


def test_pages_of_other_origins_are_refused(server, photograph):
    own = {"Origin": server.address.rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    assert server.landmarks(photograph, own, boxes="[]")[0] == 200
    for foreign in (
        {"Origin": "http://faces.invalid"},
        {"Origin": "null"},
        {"Origin": f"http://localhost:{server.port}"},  # another origin than 127.0.0.1
        {"Origin": "http://[", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        status, answer = server.landmarks(photograph, foreign, boxes="[]")
        assert (status, answer) == (403, {"error": "a page of another origin may not ask this one"}), foreign


def test_many_at_once_are_answered_as_one_is(server, photograph):
    expected = {name: timeless(server.landmarks(photograph, model=name)[1]) for name in MODELS}
    with ThreadPoolExecutor(8) as pool:
        names = [MODELS[i % 2] for i in range(8)]
        answers = list(pool.map(lambda name: server.landmarks(photograph, model=name), names))
    assert [(status, timeless(answer)) for status, answer in answers] == [(200, expected[name]) for name in names]
    assert list(server.folder.iterdir()) == []  # nothing is written


def test_a_port_in_use_is_one_line(server):
    command = [sys.executable, "-m", "kdloss.serve", "--port", str(server.port)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr.startswith(f"error: --host 127.0.0.1 --port {server.port}: cannot listen there (Address alr")
    assert finished.stderr.count("\n") == 1
