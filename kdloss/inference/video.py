"""Frames of videos and cameras, and videos of frames with something drawn into them.

A source of frames, `VideoFile` or `Camera`, is a context manager. Inside, it has ``size`` (width, height)
of its frames, ``fps`` (None if unknown) and ``total`` (frames to be expected, None if unknown), and ``frames()`` yields
(time, image): seconds, always later than the last, and (H, W, 3) uint8 RGB. Outside too it has a ``name``, which stands
in records, and a ``result``, what files of results are called.
"""

import os
import re
import signal
import threading
import time
from pathlib import Path

import cv2

from kdloss.errors import ConfigError, DataError, UserError

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".3gp")
FALLBACK_FPS = 25.0  # of videos that do not tell theirs
_HIGHEST_FPS = 600.0  # Matroska's clock, 1000 a second, is often given for the rate of its frames
_MISSING, _MISSING_SHARE = 1.0, 0.1  # seconds, and share of the whole, that may be missing at the end
_LARGEST = 8190  # pixels, sides that MPEG-4 takes
_LONGEST_STILL = 10.0  # seconds that one frame is shown in an overlay at most

PREFIX = "camera:"
_PATIENCE = 10.0  # seconds without a picture after which a camera counts as gone
_GLANCE = 0.2  # seconds between looks at whether somebody has interrupted

# FFmpeg's own messages name no file and repeat for every frame. It reads the variable when it first opens one.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


class CutShort(DataError):
    """Frames ended before they should; those that came are sound."""


class VideoFile:
    """The frames of a video, turned upright if it says how it was held.

    Args:
        path, name, result: see above; by default the file's name, and that without its suffix.

    Raises:
        DataError: on entering: missing, empty, no video, or without a single frame that can be read.
        CutShort: from ``frames()``, when they end well before the video's announced length.
    """

    def __init__(self, path, name=None, result=None):
        self.path = Path(path)
        self.name, self.result = name or self.path.name, result or self.path.stem

    def __enter__(self):
        try:
            with open(self.path, "rb") as file:
                empty = not file.read(1)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror})") from error
        if empty:
            raise DataError(f"{self.path}: an empty file, expected a video")
        _silence()
        # An absolute path is never taken for an address.
        self._capture = cv2.VideoCapture(os.path.abspath(self.path), cv2.CAP_FFMPEG)
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

    def frames(self):
        period = 1 / (self.fps or FALLBACK_FPS)
        picture, time, count = self._first, 0.0, 0
        self._first = None
        while picture is not None:
            yield time, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
            count += 1
            _, picture = self._capture.read()
            stamp = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            # Some files have no time stamps, or some that jump back.
            if picture is not None:
                time = stamp if stamp > time else time + period
        self._compare(count, time + period)

    def _compare(self, count, end):
        """Raises `CutShort` if both the frames and the time end early.

        Some containers announce frames by length times rate, or hold some that are not shown; the length may be that of
        the sound; and the last frame may stand still for long.
        """
        if self.total is None or self.fps is None:
            return
        announced = self.total / self.fps
        allowed = min(_MISSING, _MISSING_SHARE * announced)
        if announced - end > allowed and (self.total - count) / self.fps > allowed:
            raise CutShort(f"{self.path}: ends after {end:.1f} of {announced:.1f} seconds: is the file complete?")


class Camera:
    """The frames of a camera from now on, a source of frames as described above.

    It never ends by itself: Ctrl-C ends the frames in order, a second one interrupts as usual. Of frames that come
    while another is being worked on, only the newest is kept. Their times are the clock's, from the first on.

    Args:
        place: a number, a device file or an address, also after ``camera:``.

    Attributes:
        name, result: see above; without the user and password that an address may hold.

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
        _silence()
        if self._network:
            most = int(_PATIENCE * 1000)
            waits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, most, cv2.CAP_PROP_READ_TIMEOUT_MSEC, most]
            self._capture = cv2.VideoCapture(self._where, cv2.CAP_FFMPEG, waits)
        elif self._where.startswith("/"):
            self._capture = cv2.VideoCapture(self._where) if Path(self._where).exists() else cv2.VideoCapture()
        else:
            self._capture = cv2.VideoCapture(int(self._where))
        if not self._capture.isOpened():
            what = "does its address lead to it" if self._network else "does no other program use it"
            raise DataError(f"{self.name}: cannot be opened: is it there, and {what}?")
        self.fps = _plausible_fps(self._capture.get(cv2.CAP_PROP_FPS))
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


class OverlayVideo:
    """Writes a video (MPEG-4 part 2, ``.mp4``) of frames that come with their times.

    Each frame is shown from its time on, until the next one comes, whatever the rate of the video: frames that come
    faster are left out.

    Raises:
        ConfigError: from ``write()``: frames larger than MPEG-4 takes.
        UserError: the file can't be written there, or not whole, as on a full disk.
    """

    def __init__(self, path, fps):
        # MPEG-4 takes no finer fractions.
        self._path, self._fps = path, round(fps or FALLBACK_FPS, 2)
        self._writer, self._count, self._shift = None, 0, 0.0

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self._writer:
            self._writer.release()  # says nothing of what it could not write
            capture = cv2.VideoCapture(os.path.abspath(self._path), cv2.CAP_FFMPEG)
            written = capture.get(cv2.CAP_PROP_FRAME_COUNT)
            capture.release()
            if kind is None and written != self._count:
                raise UserError("the overlay cannot be written whole: is there space left on the disk?")

    def write(self, picture, time):
        """Adds a picture (H, W, 3) uint8 RGB, the same size each time; time in seconds, later than that of the last."""
        # MPEG-4 takes even sides alone.
        height, width = picture.shape[:2]
        picture = cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        if self._writer is None:
            self._writer = self._opened(picture.shape[1], picture.shape[0])
        behind = self._behind(time)
        for _ in range(int(behind)):
            self._put(self._last)
        # A whole frame ahead: it is left out.
        if behind > -1:
            self._put(picture)
        self._last = picture

    def _behind(self, time):
        """By how many frames what is written ends before a time."""
        behind = (time - self._shift) * self._fps - self._count
        too_long = behind / self._fps - _LONGEST_STILL
        if too_long > 0:
            self._shift += too_long
            behind = _LONGEST_STILL * self._fps
        return behind

    def _put(self, picture):
        self._writer.write(picture)
        self._count += 1

    def _opened(self, width, height):
        _silence()
        if max(width, height) > _LARGEST:
            raise ConfigError(
                f"overlay: frames of {width} x {height} pixels, MPEG-4 takes sides of {_LARGEST} at most: leave it out "
                "(--no-overlay)"
            )
        codec = cv2.VideoWriter_fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(self._path), cv2.CAP_FFMPEG, codec, self._fps, (width, height))
        if not writer.isOpened():
            raise UserError("the overlay cannot be written: give another place, or leave it out (--no-overlay)")
        return writer


def _silence():
    """Keeps OpenCV's own messages from the terminal; what went wrong is said by this project's errors."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def _plausible_fps(fps):
    """Frames a second as a file or a camera gave them, or None for what can be no such number."""
    return float(fps) if 0.01 <= fps <= _HIGHEST_FPS else None
