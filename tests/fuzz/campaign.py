"""Many inputs for all readers, in processes of their own: one that dies or never ends is a finding, not the end."""

import contextlib
import hashlib
import importlib
import multiprocessing
import resource
import shutil
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.reader import ACCEPTED, REFUSED, Crash, mutant, outcome

# Damaged files cost little; building those that are nearly right takes longer than reading them.
MUTATED, STRUCTURED = "mutated", "structured"
_SHARES = {MUTATED: 0.8, STRUCTURED: 0.2}
_BATCH = 250
_PATIENCE = 60
_ROOM = 6 << 30
_IN_MEMORY = Path("/dev/shm")
# Of a kind of crash so many inputs are kept.
_KEPT = 3


@dataclass(frozen=True)
class Job:
    """``count`` inputs of one kind for one reader; they depend on ``seed``, a text, alone."""

    reader: str
    way: str
    seed: str
    count: int


@dataclass
class Result:
    """What came of a job: how many inputs were read and refused, the crashes, and a hash of all inputs."""

    job: Job
    accepted: int = 0
    refused: int = 0
    crashes: list = field(default_factory=list)
    seconds: float = 0.0
    digest: str = ""


def plan(readers, inputs, number):
    """The jobs that give ``inputs`` inputs, or a few more, to readers by their shares."""
    whole, jobs = sum(reader.share for reader in readers), []
    for reader in readers:
        for way, share in _SHARES.items():
            left = -(-inputs * reader.share * share // whole)
            for batch in range(int(-(-left // _BATCH))):
                count = int(min(_BATCH, left - batch * _BATCH))
                jobs.append(Job(reader.name, way, f"{number}/{reader.name}/{way}/{batch}", count))
    return jobs


def run_jobs(module, jobs, processes, keep=None, patience=_PATIENCE, report=lambda done: None):
    """Does all jobs.

    Args:
        module: name of the module whose ``READERS`` they are for.
        jobs: of `plan`.
        processes: how many work at a time.
        keep: folder for inputs that crashed a reader; None: they are not kept.
        patience: seconds for one input, after which its process is ended.
        report: called with each `Result`.

    Returns:
        The `Result` of each job.
    """
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(processes) as threads:
        workers = [stack.enter_context(_Worker(module, keep, patience)) for _ in range(processes)]

        def work(job):
            worker = workers.pop()
            try:
                result = worker.do(job)
            finally:
                workers.append(worker)
            report(result)
            return result

        return list(threads.map(work, jobs))


class _Worker:
    """A process that does jobs one after the other, and is started anew when it dies."""

    def __init__(self, module, keep, patience):
        self._module, self._keep, self._patience, self._process = module, keep, patience, None
        self._context = multiprocessing.get_context("spawn")
        self._place = Path(tempfile.mkdtemp(prefix="fuzz-", dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None))

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._end()
        shutil.rmtree(self._place, ignore_errors=True)

    def do(self, job):
        """The `Result` of a job."""
        if self._process is None:
            self._start()
        lost = {}
        self._index.value = -1
        self._connection.send((job, ()))
        while True:
            result = self._answer()
            if isinstance(result, str):
                raise RuntimeError(f"{job}: its inputs cannot be made: {result}")
            if result is not None:
                result.crashes += lost.values()
                return result
            index, code = self._index.value, self._end()
            if index in (-1, *lost):
                raise RuntimeError(f"{job}: its process ended before it began, exit status {code}")
            kind = "slow" if code is None else "killed"
            lost[index] = self._found(job, index, Crash(kind, "", f"exit status {code}"))
            self._start()
            self._connection.send((job, tuple(lost)))  # once more, without those inputs

    def _answer(self):
        """What the process sends, or None if it died or does not come to an end."""
        while True:
            last = self._index.value
            if self._connection.poll(self._patience):
                try:
                    return self._connection.recv()
                except EOFError:
                    return None
            if self._index.value == last != -1:  # before that, it starts
                return None

    def _found(self, job, index, crash):
        content = (self._place / "input").read_bytes()
        return kept_crash(self._keep, job, index, crash, content)

    def _start(self):
        self._connection, theirs = self._context.Pipe()
        self._index = self._context.Value("q", -1)
        arguments = (theirs, self._index, self._module, self._place, self._keep)
        self._process = self._context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def _end(self):
        """Ends the process; its exit status, or None if it had to be ended."""
        if self._process is None:
            return None
        self._process.join(1)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            self._process.join()
        self._process = None
        return code


def _serve(connection, index, module, place, keep):
    readers, begun = {reader.name: reader for reader in importlib.import_module(module).READERS}, {}
    while True:
        try:
            job, without = connection.recv()
        except EOFError:
            return
        try:
            if job.reader not in begun:
                folder = Path(tempfile.mkdtemp(dir=place))
                begun[job.reader] = folder, readers[job.reader].begin(folder)
                _limit_memory()
            connection.send(_run(readers[job.reader], *begun[job.reader], job, without, index, place / "input", keep))
        except Exception:
            connection.send(traceback.format_exc())


def _run(reader, folder, valid, job, without, index, note, keep):
    result, digest, index.value, crashed = Result(job), hashlib.sha256(), -1, {}
    started = time.monotonic()

    def one(content):
        index.value += 1
        digest.update(content)
        if index.value in without:
            return
        note.write_bytes(content)
        found = outcome(reader, folder, content)
        if found == ACCEPTED:
            result.accepted += 1
        elif found == REFUSED:
            result.refused += 1
        else:
            alike = crashed[found.kind, found.place] = crashed.get((found.kind, found.place), 0) + 1
            where = keep if alike <= _KEPT else None
            result.crashes.append(kept_crash(where, job, index.value, found, content))

    if job.way == MUTATED:
        for number in range(job.count):
            one(mutant(valid, f"{job.seed}/{number}"))
    else:
        _generate(reader.structured, job, one)
    result.digest, result.seconds = digest.hexdigest(), time.monotonic() - started
    return result


def _generate(strategy, job, one):
    number = int.from_bytes(hashlib.sha256(job.seed.encode()).digest()[:8], "big")
    generated = settings(
        max_examples=job.count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    seed(number)(generated(given(strategy)(one)))()


def _limit_memory():
    """So that a reader that asks for more meets an error, and the machine goes on."""
    used = 4096 * int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (used + _ROOM, resource.RLIM_INFINITY))


def kept_crash(keep, job, index, crash, content):
    """What is reported of a crash, a dict; the input is written below ``keep``, if that is a folder."""
    found = {"reader": job.reader, "seed": f"{job.seed}/{index}", **asdict(crash)}
    if keep is not None:
        name = f"{job.reader}-{crash.kind}-{hashlib.sha256(content).hexdigest()[:12]}".replace(" ", "-")
        keep.mkdir(parents=True, exist_ok=True)
        (keep / name).write_bytes(content)
        found["file"] = name
    return found


def combined(readers, results):
    """What came of each reader's jobs, a list of dicts for JSON."""
    rows = []
    for reader in readers:
        own = [result for result in results if result.job.reader == reader.name]
        crashes = sum(len(result.crashes) for result in own)
        accepted, refused = sum(result.accepted for result in own), sum(result.refused for result in own)
        digest = hashlib.sha256("".join(result.digest for result in own).encode())
        rows.append(
            {
                "reader": reader.name,
                "inputs": accepted + refused + crashes,
                "accepted": accepted,
                "refused": refused,
                "crashes": crashes,
                "seconds": sum(result.seconds for result in own),
                "inputs_sha256": digest.hexdigest(),
            }
        )
    return rows
