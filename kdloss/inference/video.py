"""Frames of videos and cameras.

A source of frames, `VideoFile` or `Camera`, has a ``name`` for records and a ``result``, the stem of its result files.
It is a context manager, within which it has the ``size`` (width, height) of its frames, ``fps`` and ``total`` (the
expected number of frames), either None if unknown, and ``frames(interrupted)``, which yields (time, image): seconds,
always later than the last, and (H, W, 3) uint8 RGB. ``interrupted()`` tells whether the caller was asked to stop.
"""

import os
import re
import threading
import time
from pathlib import Path

import cv2

from kdloss.errors import ConfigError, DataError
from kdloss.files import open_input
from kdloss.names import library_path

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".3gp")
CAMERA_PREFIX = "camera:"
FALLBACK_FPS = 25.0  # of videos with an unknown rate
_HIGHEST_FPS = 600.0  # Matroska files often state their clock, 1000 a second, as the rate of their frames
_MISSING, _MISSING_SHARE = 1.0, 0.1  # seconds, and share of the whole, that may be missing at the end
_PATIENCE = 10.0  # seconds without a picture after which a camera counts as gone
_INTERRUPTED_PATIENCE = 1.0  # the same once the caller was asked to stop

# FFmpeg's own messages name no file and repeat for every frame. It reads this variable when it first opens a file.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


class CutShort(DataError):
    """The frames ended too early. Those before are valid."""


class VideoFile:
    """The frames of a video, upright if its file states how the camera was held.

    Args:
        path: of the file.
        name, result: see above; by default the file's name with and without its suffix.

    Raises:
        DataError: on entering: missing, empty, no video, or without any readable frame.
        CutShort: from ``frames()``: they end well before the stated length of the video.
    """

    kind = "video"

    def __init__(self, path, name=None, result=None):
        self.path = Path(path)
        self.name, self.result = name or self.path.name, result or self.path.stem

    def __enter__(self):
        try:
            with open_input(self.path) as file:
                empty = not file.read(1)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror})") from error
        if empty:
            raise DataError(f"{self.path}: an empty file, expected a video")
        silence_opencv()
        # OpenCV may take a relative path for an address.
        with library_path(self.path) as path:
            self._capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
        found, self._first = self._capture.read()
        if not found:
            opened = self._capture.isOpened()
            self._capture.release()
            what = "a video without frames that can be read" if opened else "no video that can be opened"
            raise DataError(f"{self.path}: {what}: is the file complete, and does it play elsewhere?")
        self.size = self._first.shape[1::-1]
        self.fps = _plausible_fps(self._capture.get(cv2.CAP_PROP_FPS))
        total = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.total = int(total) if 0 < total < 2**40 else None
        return self

    def __exit__(self, *_):
        self._capture.release()

    def frames(self, interrupted=None):
        period = 1 / (self.fps or FALLBACK_FPS)
        picture, time, count = self._first, 0.0, 0
        self._first = None
        while picture is not None:
            yield time, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
            count += 1
            _, picture = self._capture.read()
            stamp = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            # Files may have no time stamps, or some that jump back.
            if picture is not None:
                time = stamp if stamp > time else time + period
        self._check_complete(count, time + period)

    def _check_complete(self, count, end):
        """Raises `CutShort` if both the frames and the time end early.

        One alone proves nothing: containers may compute the number of frames from length and rate, or hold frames that
        are not shown; the length may be that of the sound; the last frame may stand still for long.
        """
        if self.total is None or self.fps is None:
            return
        stated = self.total / self.fps
        allowed = min(_MISSING, _MISSING_SHARE * stated)
        if stated - end > allowed and (self.total - count) / self.fps > allowed:
            raise CutShort(f"{self.path}: ends after {end:.1f} of {stated:.1f} seconds: is the file complete?")


def without_login(address):
    """An address without the user and password that it may hold, for terminals and records."""
    # Up to the last @, because a password may hold signs that end a host.
    return re.sub(r"(?<=://).*@|\A(?!.*://).*@", "", address, flags=re.DOTALL)


class Camera:
    """The frames of a camera. Their times count from the first one.

    While the caller works on a frame, only the newest of the following ones is kept.

    Args:
        place: a number, a device file or an address, with or without ``camera:`` before it.

    Attributes:
        name, result: see above; without the user and password that an address may hold.

    Raises:
        ConfigError: none of these.
        DataError: on entering: no such camera, or it gives no picture.
        CutShort: from ``frames()``: the camera has gone.
    """

    kind, total = "camera", None

    def __init__(self, place):
        self._where = str(place).removeprefix(CAMERA_PREFIX)
        self._network, shown = "://" in self._where, without_login(self._where)
        if not (self._network or re.fullmatch(r"\d{1,4}|/dev/.+", self._where)):
            raise ConfigError(
                f"{CAMERA_PREFIX}{shown}: expected camera:NUMBER, camera:/dev/... or camera:ADDRESS (camera:0, "
                "camera:rtsp://host/stream)"
            )
        self.name = CAMERA_PREFIX + shown
        self.result = "camera-" + re.sub(r"[^A-Za-z0-9]+", "-", shown).strip("-")[:100]

    def __enter__(self):
        silence_opencv()
        self._changed = threading.Condition()
        self._newest, self._first, self._opened, self._gone, self._closing = None, None, False, False, False
        # A network camera may take long to open. Meanwhile, this thread can be interrupted.
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        try:
            self._first = self._next(2 * _PATIENCE)
        finally:
            if self._first is None:
                self.__exit__()
        if self._first is None and self._opened:
            raise DataError(f"{self.name}: gives no picture: does no other program use it?")
        if self._first is None:
            what = "does its address lead to it" if self._network else "does no other program use it"
            raise DataError(f"{self.name}: cannot be opened: is it there, and {what}?")
        self.size = self._first[1].shape[1::-1]
        return self

    def __exit__(self, *_):
        self._closing = True
        self._thread.join(1.0)  # if it still waits for a picture, it ends with the process

    def frames(self, interrupted=lambda: False):
        begin, frame = self._first[0], self._first
        while frame is not None:
            yield frame[0] - begin, cv2.cvtColor(frame[1], cv2.COLOR_BGR2RGB)
            frame = self._next(_PATIENCE, interrupted)
        if not interrupted():
            raise CutShort(f"{self.name}: gives no more pictures: is it still there?")

    def _next(self, patience, interrupted=lambda: False):
        """(time, picture) of the newest frame, once there is a new one; None if none comes in time."""
        asked = time.monotonic()
        with self._changed:
            while self._newest is None and not self._gone:
                if time.monotonic() - asked > (_INTERRUPTED_PATIENCE if interrupted() else patience):
                    break
                self._changed.wait(0.1)
            newest, self._newest = self._newest, None
        return newest

    def _open(self):
        if self._network:
            most = int(_PATIENCE * 1000)
            waits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, most, cv2.CAP_PROP_READ_TIMEOUT_MSEC, most]
            return cv2.VideoCapture(self._where, cv2.CAP_FFMPEG, waits)
        if self._where.startswith("/"):
            return cv2.VideoCapture(self._where) if Path(self._where).exists() else cv2.VideoCapture()
        return cv2.VideoCapture(int(self._where))

    def _read(self):
        capture = self._open()
        found = self._opened = capture.isOpened()
        self.fps = _plausible_fps(capture.get(cv2.CAP_PROP_FPS))
        while found and not self._closing:
            found, picture = capture.read()
            with self._changed:
                if found:
                    self._newest = time.monotonic(), picture
                    self._changed.notify()
        capture.release()
        self._gone = True


def silence_opencv():
    """Keeps OpenCV's own messages from the terminal. This project's errors take their place."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def _plausible_fps(fps):
    """The frames per second that a file or a camera states, or None if that cannot be true."""
    return float(fps) if 0.01 <= fps <= _HIGHEST_FPS else None
