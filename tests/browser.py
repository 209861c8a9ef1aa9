"""Headless Chromium, driven over its DevTools protocol, for the tests of what a browser shows."""

import contextlib
import itertools
import json
import shutil
import subprocess
import time

import pytest

websocket = pytest.importorskip("websocket", reason="needs websocket-client (extra dev)")

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --remote-debugging-port=0"
)
PATIENCE = 30  # seconds


class Browser:
    """One page of a Chromium, the addresses that it requested, and its complaints."""

    def __init__(self, program, folder, *flags):
        self.process = subprocess.Popen(
            [program, *FLAGS.split(), *flags, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.numbers, self.events, self.session, self.socket = itertools.count(1), [], None, None
        try:
            self.socket = websocket.create_connection(_address(folder), timeout=PATIENCE, suppress_origin=True)
            target = self.ask("Target.createTarget", url="about:blank")["targetId"]
            self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.ask(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def close(self):
        if self.socket is not None:
            self.socket.close()
        self.process.terminate()
        try:
            self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def ask(self, method, **params):
        """Sends a command and returns its result; what happens in the meantime is kept in `events`."""
        number = next(self.numbers)
        session = {"sessionId": self.session} if self.session else {}
        self.socket.send(json.dumps({"id": number, "method": method, "params": params} | session))
        while (message := json.loads(self.socket.recv())).get("id") != number:
            self.events.append(message)
        assert "error" not in message, message
        return message["result"]

    def visit(self, address, width=1280, dark=False):
        """Loads an address at a width in CSS pixels, and forgets what happened before."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.ask("Page.navigate", url=address)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(json.loads(self.socket.recv()))

    def run(self, expression):
        """The value of a JavaScript expression in the page."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    @property
    def requested(self):
        """Addresses that the page asked for."""
        return [
            event["params"]["request"]["url"] for event in self.events if event["method"] == "Network.requestWillBeSent"
        ]

    @property
    def complaints(self):
        """Exceptions, console messages and warnings of the browser, as JSON."""
        self.run("0")  # what was on its way has arrived
        methods = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [json.dumps(event["params"]) for event in self.events if event["method"] in methods]


def _address(folder):
    """The address of the browser's socket, whose port and path it writes into its folder once it listens."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError):
            port, path = (folder / "DevToolsActivePort").read_text().split()
            return f"ws://127.0.0.1:{port}{path}"
        time.sleep(0.05)
    raise TimeoutError("Chromium does not listen")


@contextlib.contextmanager
def headless_chromium(folder, *flags):
    """A `Browser` with its profile in a folder; skips the test where there is no Chromium."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no chromium on the PATH")
    browser = Browser(program, folder, *flags)
    try:
        yield browser
    finally:
        browser.close()
