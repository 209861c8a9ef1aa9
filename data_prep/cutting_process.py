"""A process that cuts chunks of faces for `data_prep.processes`: ``python -m data_prep.cutting_process``.

It reads lines of JSON, first what `cut_in_processes` says of the data set, then the number of one chunk after the
other, and answers each with a line: ``null``, or the error that the user has to see. It ends when its input does, that
is at the latest with the process that started it, however that one ended.
"""

import contextlib
import json
import os
import queue
import signal
import sys
import threading

import cv2

from asm.errors import UserError
from data_prep.chunks import cut_chunk
from data_prep.faces_file import FacesFile
from data_prep.prepare import open_raw
from kdloss.errors import DataError


def main():
    # Who presses Ctrl-C, or ends the whole group, ends the process that started this one; this one follows.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    lines = queue.SimpleQueue()
    threading.Thread(target=_read_lines, args=(lines,), daemon=True).start()
    job = json.loads(lines.get())
    cv2.setNumThreads(1)  # the other cores are for the other processes
    with FacesFile(job["faces"], job["size"]) as faces:
        entries = None
        while True:
            start = json.loads(lines.get())
            try:
                if entries is None:
                    entries = _open(job)
                for _ in cut_chunk(entries, start, job["chunks"], faces, job["crop_scale"]):
                    pass
                error = None
            except (UserError, OSError) as found:
                error = str(found)
            print(json.dumps(error), flush=True)


def _read_lines(lines):
    with contextlib.suppress(OSError):
        for line in sys.stdin:
            lines.put(line)
    os._exit(0)


def _open(job):
    entries = open_raw(job["dataset"], job["source"], **job["options"]).entries
    if len(entries) != job["total"]:
        raise DataError(f"{job['source']}: found {len(entries)} faces, and {job['total']} before: it changes")
    return entries


if __name__ == "__main__":
    main()
