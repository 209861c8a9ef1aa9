"""What memory a training takes as its set grows: one epoch over a set that is repeated, each time in a process.

    python -m data_prep synthetic --layout 300w --count 480 --test-count 100 --seed 0 --out RAW
    python -m data_prep 300w --source RAW --out data/demo-faces
    python benchmarks/larger_than_memory.py --data data/demo-faces --times 1 10 100 --json memory.json

The network is a small one, so that reading and cutting faces takes most of the time. Every face is trained on or
validated with, so that all pictures of a set are read; none of them lies in the system's cache when the process starts.
All processes but the first may take no more private memory (RLIMIT_DATA) than the first one took, `SHARE` of it and
`BYTES_A_FACE` for each face more: a training that keeps what it reads would end there.

Exit status 1 if the peak of resident memory grows by more than that, or the first batch is later than `SECONDS`.
"""

import argparse
import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the network is that of the tests

from asm.atomic import write_whole
from kdloss.benchmarking.reliability_tables import memory_table
from kdloss.benchmarking.repeated_set import repeated_set
from kdloss.errors import ConfigError, DataError, exits_on_user_error
from kdloss.evaluation.table import text_table
from kdloss.prepared import PreparedDataset

SHARE, BYTES_A_FACE, SECONDS = 0.10, 1000, 10.0
IMAGE_SIZE, BATCH = 64, 64
_STARTED = time.monotonic()


class Watch(threading.Thread):
    """Looks at the memory of this process again and again; `most` has the largest of each kind, in bytes."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most = {"RssAnon": 0, "VmData": 0, "VmHWM": 0}

    def run(self):
        while True:
            self.look()
            time.sleep(0.05)

    def look(self):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name in self.most:
                self.most[name] = max(self.most[name], int(value.split()[0]) * 1024)


def train_once(folder, limit):
    """One epoch over a prepared set in this process; its figures, a dict for JSON."""
    if limit:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    watch = Watch()
    watch.start()
    from kdloss.models.regressors import REGRESSORS
    from kdloss.pipeline import ViewBatches
    from kdloss.training.config import TrainConfig
    from kdloss.training.fit import train
    from tests.training.tiny_chain import ARCH, TINY

    REGRESSORS[ARCH] = TINY
    first, draw = [], ViewBatches.batch

    def timed(self, epoch, step):
        drawn = draw(self, epoch, step)
        if not first:
            first.append(time.monotonic())
        return drawn

    ViewBatches.batch = timed
    config = TrainConfig(
        "tough", "300w", ARCH, image_size=IMAGE_SIZE, batch_size=BATCH, epochs=1, augment="light", loss="l1"
    )
    imported = time.monotonic()
    prepared = PreparedDataset(folder)
    opened = time.monotonic()
    with tempfile.TemporaryDirectory() as runs:
        train(config, prepared, Path(runs) / "run", verbose=0)
    ended = time.monotonic()
    watch.look()
    return {
        "faces": len(prepared),
        "open_seconds": opened - imported,
        "first_batch_seconds": first[0] - opened,
        "first_batch_from_start": first[0] - _STARTED,
        "seconds": ended - opened,
        "peak": watch.most["VmHWM"],
        "anonymous": watch.most["RssAnon"],
        "data": watch.most["VmData"],
        "limit": limit,
    }


def measure(prepared, times, work, limit):
    """Makes a set, trains on it in a process of its own, and removes it."""
    with repeated_set(prepared, times, work) as made:
        with open(made / "faces.npy", "rb") as file:
            size = os.fstat(file.fileno()).st_size
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        words = [sys.executable, __file__, "--data", str(made), "--once", "--limit", str(limit)]
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise DataError(
                f"{times} times the set: training ended with status {done.returncode} (its output is above)"
            )
        return json.loads(done.stdout.splitlines()[-1]) | {"times": times, "bytes": size}


def missed(rows):
    """What falls short: a list of texts."""
    short = []
    for row in rows:
        if (grown := row["peak"] - rows[0]["peak"]) > (allowed := _allowed(rows[0]["peak"], row, rows[0])):
            short.append(f"{row['times']} times: {grown / 1e6:.0f} MB more, expected {allowed / 1e6:.0f} at most")
        if row["first_batch_seconds"] > SECONDS:
            short.append(f"{row['times']} times: first batch after {row['first_batch_seconds']:.1f} s of {SECONDS:g}")
    return short


def _allowed(before, row, first):
    return SHARE * before + BYTES_A_FACE * (row["faces"] - first["faces"])


@exits_on_user_error
def main(argv=None):
    typed = sys.argv[1:] if argv is None else argv
    args = _parser().parse_args(argv)
    if args.once:
        print(json.dumps(train_once(args.data, args.limit)))
        return 0
    if min(args.times) < 1:
        raise ConfigError(f"--times {min(args.times)}: expected 1 at least")
    prepared, rows = PreparedDataset(args.data).require(dataset="300w"), []
    for times in sorted(set(args.times)):
        limit = 0
        if rows:
            faces = {"faces": times * len(prepared)}
            limit = int(rows[0]["data"] + _allowed(rows[0]["data"], faces, rows[0]))
        print(f"{times} times {len(prepared)} faces ...", file=sys.stderr, flush=True)
        rows.append(measure(prepared, times, args.work, limit))
    from kdloss.runs import environment

    record = {
        "kind": "memory",
        "command": f"python benchmarks/larger_than_memory.py {shlex.join(typed)}",
        "date": time.strftime("%Y-%m-%d"),
        "machine": environment(),
        "network": f"two convolutions at {IMAGE_SIZE} px, batches of {BATCH}",
        "targets": {"share": SHARE, "bytes_a_face": BYTES_A_FACE, "seconds": SECONDS},
        "rows": rows,
    }
    print(text_table(memory_table(record)))
    if args.json:
        write_whole(args.json, json.dumps(record, indent=1))
    short = missed(rows)
    for line in short:
        print(f"missed: {line}", file=sys.stderr)
    return 1 if short else 0


def _parser():
    parser = argparse.ArgumentParser(prog="python benchmarks/larger_than_memory.py", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="prepared set of 300w faces to repeat")
    parser.add_argument("--times", type=int, nargs="+", default=[1, 10, 100], help="how often (1 10 100)")
    parser.add_argument("--work", type=Path, default=Path(), help="folder for the sets, each removed after use (here)")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=int, default=0, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
