"""Prints what each reader made of damaged files, and the most memory that one of its processes took for them.

python -m tests.fuzz.memory 200      (files for each reader, see `test_readers.py`)
"""

import os
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.mutations import mutated
from tests.fuzz.readers import READERS, outcome


def read_all(name, count, folder):
    reader, found, slowest = READERS[name], Counter(), 0
    valid = reader.begin(folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(count):
        rng, started = random.Random(f"{name}/{number}"), time.process_time()
        found[outcome(reader, folder, mutated(rng.choice(valid), valid, rng))] += 1
        slowest = max(slowest, time.process_time() - started)
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
    print(f"{name}: {dict(found)}, {megabytes:.0f} MB more, the slowest {slowest:.2f} s", flush=True)


def main():
    for name in READERS:
        # A process each, because the most memory of a process never falls.
        if not (child := os.fork()):
            with tempfile.TemporaryDirectory() as folder:
                read_all(name, int(sys.argv[1]), Path(folder))
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
