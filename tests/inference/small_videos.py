"""Small videos of real encoders, their frames, and programs in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from kdloss.inference.video import VideoFile

SIZE = (96, 64)
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}


def picture(i, size=SIZE):
    """Frame number i, as bright as it is late; RGB, red to the left."""
    image = np.full((size[1], size[0], 3), 2 * i, np.uint8)
    image[:, : size[0] // 2, 0] = 200
    return image


def write_video(path, count=50, fps=25, codec="mp4v", size=SIZE):
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), fps, size)
    assert writer.isOpened()
    for i in range(count):
        writer.write(picture(i, size)[..., ::-1])
    writer.release()
    return path


def read_frames(path):
    with VideoFile(path) as video:
        return list(video.frames())


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def run(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
