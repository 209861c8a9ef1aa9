"""The server as its command starts it, and a photograph with one face."""

import contextlib
import http.client
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode

import pytest
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
MODELS = ("mobilenetv2-300w", "mobilenetv2-300w/int8.tflite")

skimage_data = pytest.importorskip("skimage.data")
pytest.importorskip("starlette", reason="needs starlette (extra serve)")
pytest.importorskip("uvicorn", reason="needs uvicorn (extra serve)")


def start(folder, *words, patience=None):
    """The command in a folder of its own, and the line that it prints once it listens; ``patience`` is `PATIENCE`."""
    command, environment = [sys.executable, "-m", "kdloss.serve", *words], os.environ | {"PYTHONPATH": str(REPOSITORY)}
    if patience:
        program = f"import kdloss.serving.application as a; a.PATIENCE = {patience}; import kdloss.serve as s; s.main()"
        command[1:3] = ["-c", program]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=folder, env=environment, **pipes)
    return process, process.stdout.readline()


class Server:
    """A running server: ``port``, ``address``, and the ``folder`` it was started in."""

    def __init__(self, folder, address):
        self.folder, self.address = folder, address
        self.port = int(address.rstrip("/").rpartition(":")[2])

    def ask(self, method, path, body=None, headers=(), host=None):
        """Sends a request as it is given; returns status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            headers = dict(headers) | ({} if host is None else {"Host": host})
            connection.request(method, path, body, headers, encode_chunked=isinstance(body, list))
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def landmarks(self, body, headers=(), **query):
        """Status and JSON of a picture's landmarks."""
        status, _, content = self.ask("POST", f"/api/landmarks?{urlencode(query)}", body, headers)
        return status, json.loads(content)


@contextlib.contextmanager
def serving(folder, *words, patience=None):
    """A `Server` on any free port."""
    process, line = start(folder, "--port", "0", "--threads", "1", *words, patience=patience)
    try:
        assert line, process.communicate()[1]
        yield Server(folder, line.strip())
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The command with its defaults, but for the port and the threads."""
    with serving(tmp_path_factory.mktemp("started-here")) as server:
        yield server


def file_of(image, kind="JPEG", **how):
    """An image (H, W, 3) uint8 as the bytes of a file."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, kind, **how)
    return content.getvalue()


@pytest.fixture(scope="session")
def astronaut():
    """A photograph of one face, (512, 512, 3) uint8."""
    return skimage_data.astronaut()


@pytest.fixture(scope="session")
def photograph(astronaut):
    """The same as the bytes of a JPEG file."""
    return file_of(astronaut, quality=92)
