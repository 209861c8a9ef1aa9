"""Asks a running page of this machine for landmarks for some minutes, and prints what the server took and answered.

    python tools/serve_soak.py --minutes 10 --clients 4

Starts `kdloss.serve` at 127.0.0.1 and sends it what it has to answer and to refuse. Another status ends it with 1.
"""

import argparse
import collections
import contextlib
import http.client
import io
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

SERVER = [sys.executable, "-m", "kdloss.serve"]
MOST_MINUTES, MOST_CLIENTS, MOST_REQUESTS = 60, 16, 100_000


def bodies():
    """Name -> (expected status, query, body)."""
    from skimage.data import astronaut

    face, noise = astronaut(), np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    jpeg = encoded(face, "JPEG")
    return {
        "photograph": (200, "", jpeg),
        "turned": (200, "", encoded(np.ascontiguousarray(np.rot90(face)), "PNG")),
        "no face": (200, "", encoded(noise, "JPEG")),
        "given boxes": (200, "?boxes=[[180,88,90,90],[170,80,95,99]]", jpeg),
        "cut short": (400, "", jpeg[: len(jpeg) // 2]),
        "no picture": (400, "", b"<svg/>" * 1000),
        "too many pixels": (400, "", encoded(np.zeros((10_000, 10_000), np.uint8), "PNG")),
        "boxes outside": (400, "?boxes=[[9000,0,9,9]]", jpeg),
        "unknown model": (404, "?model=nobody", jpeg),
        "too large": (413, "", bytes(20_000_001)),
    }


def encoded(image, kind):
    Image.fromarray(image).save(file := io.BytesIO(), kind)
    return file.getvalue()


def ask(port, query, body):
    """The status of one request, and the seconds that it took."""
    started, connection = time.perf_counter(), http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before all of it was sent
            connection.request("POST", "/api/landmarks" + query, body)
        response = connection.getresponse()
        response.read()
        return response.status, time.perf_counter() - started
    finally:
        connection.close()


def soak(port, process, minutes, clients):
    """Counts of answers, seconds of those of status 200, what was not intended, and the memory every half minute."""
    ends, kinds = time.monotonic() + 60 * minutes, list(bodies().items())
    lock, counts, seconds, wrong, memory = threading.Lock(), collections.Counter(), [], [], [memory_of(process)]

    def client(number):
        while time.monotonic() < ends and sum(counts.values()) < MOST_REQUESTS and not wrong:
            (name, (expected, query, body)), number = kinds[number % len(kinds)], number + 1
            try:
                status, took = ask(port, query, body)
            except OSError as error:
                status, took = repr(error), 0
            with lock:
                counts[f"{name}: {status}"] += 1
                if status != expected:
                    wrong.append(f"{name}: {status}, expected {expected}")
                if status == 200:
                    seconds.append(took)

    threads = [threading.Thread(target=client, args=(3 * number,)) for number in range(clients)]
    [thread.start() for thread in threads]
    while any(thread.is_alive() for thread in threads):
        time.sleep(min(30, max(0.1, ends - time.monotonic())))
        memory.append(memory_of(process))
    return counts, seconds, wrong, memory


def memory_of(process):
    """Resident memory in MB."""
    return round(int(Path(f"/proc/{process.pid}/status").read_text().partition("VmRSS:")[2].split()[0]) / 1e3)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10, help=f"{MOST_MINUTES} at most (default: 10)")
    parser.add_argument("--clients", type=int, default=4, help=f"at once, {MOST_CLIENTS} at most (default: 4)")
    args = parser.parse_args()
    with subprocess.Popen([*SERVER, "--port", "0", "--threads", "1"], stdout=subprocess.PIPE, text=True) as server:
        try:
            port = int(server.stdout.readline().strip().rstrip("/").rpartition(":")[2])
            ask(port, *bodies()["photograph"][1:])
            counts, seconds, wrong, memory = soak(
                port, server, min(args.minutes, MOST_MINUTES), min(args.clients, MOST_CLIENTS)
            )
        finally:
            server.terminate()
    p50, p99 = np.percentile(seconds or [np.nan], [50, 99])
    print(json.dumps(dict(sorted(counts.items())), indent=1))
    print(f"{sum(counts.values())} answers; status 200 after {p50:.2f} s (p50), {p99:.2f} s (p99)")
    print(f"memory: {memory[0]} MB at first, {memory[len(memory) // 2]} MB midway, {memory[-1]} MB at last")
    print("\n".join(wrong) or "nothing but what was intended")
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
