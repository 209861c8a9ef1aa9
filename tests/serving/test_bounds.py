"""What one client can cost the others, tried on a running server: slow senders, pictures and boxes that take long."""

import contextlib
import json
import socket

import numpy as np
import pytest

from tests.serving.conftest import file_of, serving

SMALL = "mobilenetv2-300w/int8.tflite"
PATIENCE = 3  # seconds
HEAD = b"POST /api/landmarks HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """A server whose deadline comes soon, and which has a proxy."""
    words = ["--checkpoint", SMALL, "--allow-host", "faces.example", "--allow-host", "Other.Example"]
    with serving(tmp_path_factory.mktemp("patient"), *words, patience=PATIENCE) as server:
        yield server


def test_slow_senders_hold_no_model_and_are_ended_at_the_deadline(patient, photograph):
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", patient.port))) for _ in range(40)]
        for number, connection in enumerate(slow):
            connection.settimeout(60)
            # The last ones do not even end their headers.
            connection.sendall(HEAD + (b"Content-Length: 1000\r\n\r\npart" if number < 35 else b""))
        assert patient.landmarks(photograph, boxes="[]")[0] == 200
        answers = [b"".join(iter(lambda connection=connection: connection.recv(4096), b"")) for connection in slow]
    assert {answer[:12] for answer in answers[:35]} == {b"HTTP/1.1 408"}
    assert answers[35:] == [b""] * 5
    assert b"image: took over 3 seconds" in answers[0]


def test_the_longest_on_its_way_gives_way_to_bodies_for_which_there_is_no_room(server, photograph):
    with contextlib.ExitStack() as stack:
        large = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(7)]
        for connection in large:
            connection.settimeout(60)
            connection.sendall(HEAD + b"Content-Length: 19000000\r\n\r\n" + bytes(18_000_000))
        assert large[0].recv(12) == b"HTTP/1.1 408"
        assert server.landmarks(photograph, boxes="[]")[0] == 200


def test_work_that_a_request_may_ask_for_is_bounded(server, photograph):
    def refusal(picture, **query):
        status, answer = server.landmarks(picture, **query)
        assert status == 400
        return answer["error"]

    many = json.dumps([[9, 9, 90, 90]] * 65)
    expected = (
        "boxes or faces: found 65 in a picture of 0.3 million pixels, expected 64 at most: cut it, or scale it down"
    )
    assert refusal(photograph, boxes=many) == expected
    large = file_of(np.zeros((8000, 10000, 3), np.uint8), "PNG")
    assert "found 8 in a picture of 80.0 million pixels, expected 7" in refusal(
        large, boxes=json.dumps([[9, 9, 9, 9]] * 8)
    )
    assert "5000 x 1000 pixels, expected sides of 1 to 4" in refusal(
        file_of(np.zeros((1000, 5000, 3), np.uint8), "PNG")
    )


@pytest.mark.slow
def test_a_picture_of_too_many_faces_is_refused(server, astronaut):
    picture = np.tile(astronaut[40:200:2, 150:310:2], (8, 10, 1))
    status, answer = server.landmarks(file_of(picture))
    assert (status, answer.get("error", "")[:32]) == (400, "boxes or faces: found 80 in a pi")
    status, answer = server.landmarks(file_of(picture[::2, ::2].repeat(2, axis=0).repeat(2, axis=1)[:, :, ::-1]))
    assert status == 400


def test_a_proxy_may_ask_by_the_names_that_are_allowed(patient, photograph):
    for host in ("faces.example", "faces.example:443", "other.example", "127.0.0.1"):
        assert patient.ask("GET", "/", host=host)[0] == 200, host
    assert patient.ask("GET", "/", host="faces.invalid")[0] == 400
    # The page comes by https, its requests from the proxy by http.
    proxied = {"Host": "faces.example", "Origin": "https://faces.example"}
    assert patient.landmarks(photograph, proxied, boxes="[]")[0] == 200
    assert patient.landmarks(photograph, proxied | {"Origin": "https://faces.invalid"}, boxes="[]")[0] == 403
