"""How long commands take to start: fresh processes, in turns."""

import subprocess
import sys
import time

from kdloss.__main__ import VERBS
from kdloss.benchmarking.inference import spread
from kdloss.errors import ConfigError

PYTHON = "python -c pass"


def startups():
    """What is started: name -> arguments of Python, bare Python first."""
    found = {PYTHON: ["-c", "pass"]}
    found |= {f"import {package}": ["-c", f"import {package}"] for package in ("kdloss", "asm")}
    for module, _ in VERBS.values():
        module = module.removesuffix(".__main__")
        found[f"python -m {module} --help"] = ["-m", module, "--help"]
    return found


def measure_startup(rounds, announce=lambda line: None):
    """Measures how long each of `startups` takes, from start to end of its process.

    In a round each runs once; a first round, in which Python may have to compile, does not count.

    Args:
        rounds: how many count.
        announce: takes a line of progress now and then.

    Returns:
        For JSON, a list of dicts: ``what``, ``seconds`` and ``above_python`` (more than bare Python took in the same
        round), each a `spread`, and ``seconds_of_rounds``.

    Raises:
        ConfigError: one of them fails.
    """
    found = {what: [] for what in startups()}
    for number in range(rounds + 1):
        announce(f"round {number} of {rounds}" if number else "warming up")
        for what, words in startups().items():
            seconds = _seconds(what, words)
            found[what] += [seconds] if number else []
    bare = found[PYTHON]
    return [
        {
            "what": what,
            "seconds": spread(seconds),
            "above_python": spread([one - other for one, other in zip(seconds, bare, strict=True)]),
            "seconds_of_rounds": seconds,
        }
        for what, seconds in found.items()
    ]


def _seconds(what, words):
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    taken = time.perf_counter() - started
    if done.returncode:
        last = (done.stderr.splitlines() or ["it said nothing"])[-1]
        raise ConfigError(f"{what}: ended with {done.returncode} ({last}): install kdloss, then try it alone")
    return taken
