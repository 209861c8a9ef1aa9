"""Cameras: of this machine (``camera:0``, ``camera:/dev/video1``) and of the network (``camera:rtsp://...``)."""

import re
import signal
import threading
import time
from pathlib import Path

import cv2

from kdloss.errors import ConfigError, DataError
from kdloss.video import CutShort, plausible_fps, silence

PREFIX = "camera:"
_PATIENCE = 10.0  # seconds without a picture after which a camera counts as gone
_GLANCE = 0.2  # seconds between looks at whether somebody has interrupted


class Camera:
    """The frames of a camera from now on, a source of frames as `kdloss.video` describes it.

    It never ends by itself: Ctrl-C ends the frames in order, a second one interrupts as usual. Of frames that come
    while another is being worked on, only the newest is kept. Their times are the clock's, from the first on.

    Args:
        place: a number, a device file or an address, also after ``camera:``.

    Attributes:
        name, result: see `kdloss.video`; without the user and password that an address may hold.

    Raises:
        ConfigError: none of these.
        DataError: on entering: no such camera, or it gives no picture.
        CutShort: from ``frames()``: the camera has gone.
    """

    total = None

    def __init__(self, place):
        self._where = str(place).removeprefix(PREFIX)
        self._network = "://" in self._where
        if not (self._network or re.fullmatch(r"\d{1,4}|/dev/.+", self._where)):
            raise ConfigError(
                f"{PREFIX}{self._where}: expected camera:NUMBER, camera:/dev/... or camera:ADDRESS (camera:0, "
                "camera:rtsp://host/stream)"
            )
        shown = re.sub(r"(?<=://)[^/?#]*@", "", self._where)
        self.name = PREFIX + shown
        self.result = "camera-" + re.sub(r"[^A-Za-z0-9]+", "-", shown).strip("-")[:100]

    def __enter__(self):
        silence()
        if self._network:
            waits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(_PATIENCE * 1000)]
            waits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(_PATIENCE * 1000)]
            self._capture = cv2.VideoCapture(self._where, cv2.CAP_FFMPEG, waits)
        elif self._where.startswith("/"):
            self._capture = cv2.VideoCapture(self._where) if Path(self._where).exists() else cv2.VideoCapture()
        else:
            self._capture = cv2.VideoCapture(int(self._where))
        if not self._capture.isOpened():
            what = "does its address lead to it" if self._network else "does no other program use it"
            raise DataError(f"{self.name}: cannot be opened: is it there, and {what}?")
        self.fps = plausible_fps(self._capture.get(cv2.CAP_PROP_FPS))
        self._news = threading.Condition()
        self._newest, self._gone, self._closing, self._interrupted = None, False, False, False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self._first = self._next()
        if self._first is None:
            self._close()
            raise DataError(f"{self.name}: gives no picture: does no other program use it?")
        self.size = self._first[1].shape[1::-1]
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *_):
        if self._main:
            signal.signal(signal.SIGINT, self._before)
        self._close()

    def frames(self):
        begin, frame = self._first[0], self._first
        while frame is not None and not self._interrupted:
            yield frame[0] - begin, cv2.cvtColor(frame[1], cv2.COLOR_BGR2RGB)
            frame = self._next()
        if not self._interrupted:
            raise CutShort(f"{self.name}: gives no more pictures: is it still there?")

    def _next(self):
        """(time, picture) of the newest frame that was not taken yet; None if none comes, or after an interrupt."""
        until = time.monotonic() + _PATIENCE
        with self._news:
            while self._newest is None and not (self._gone or self._interrupted) and time.monotonic() < until:
                self._news.wait(_GLANCE)
            newest, self._newest = self._newest, None
        return newest

    def _read(self):
        found = True
        while found and not self._closing:
            found, picture = self._capture.read()
            with self._news:
                if found:
                    self._newest = time.monotonic(), picture
                self._gone = not found
                self._news.notify()

    def _interrupt(self, *_):
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True

    def _close(self):
        self._closing = True
        self._thread.join(1.0)
        # A thread that still waits for a picture goes with the process; to release what it reads from would crash it.
        if not self._thread.is_alive():
            self._capture.release()
