"""Runs commands in processes that are killed after a given time of their own, without their imports each time.

Reads a line of JSON for each command, {"module", "words", "folder", "log", "seconds"}, and prints a line of JSON with
its status (below zero: the signal that ended it) and the seconds of CPU time that it took. The timer of a process' own
CPU time ends it as SIGKILL does, wherever it is, and at the same place on a busy machine.
"""

import importlib
import json
import os
import signal
import sys
import traceback

from kdloss.experiments import recipes, study
from kdloss.models.regressors import REGRESSORS
from tests.commands.test_reproduce_command import SMALL, SMALL_STUDY
from tests.training.tiny_chain import ARCH, TINY

# What the commands import when they need it.
LATER = [
    "kdloss.deploy.litert",
    "kdloss.evaluation.report",
    "kdloss.experiments.report",
    "kdloss.experiments.study_report",
]
LATER += ["data_prep.layouts", "kdloss.training.fit", "kdloss.inference.video", "tools.publish", "data_prep.__main__"]
LATER += [f"kdloss.{name}" for name in ("train_teacher", "train_student", "reproduce", "evaluate", "export", "predict")]


def run(module, words, folder, log, seconds):
    """The exit status of a command in this process, which the timer may end before."""
    os.chdir(folder)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return importlib.import_module(module).main(words)
    except SystemExit as end:
        return end.code
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def serve():
    REGRESSORS[ARCH] = TINY
    recipes.KD_LOSS["smoke"], study.RECIPES["smoke"] = SMALL, SMALL_STUDY
    for name in LATER:
        importlib.import_module(name)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            status = 70
            try:
                status = run(**json.loads(line))
            finally:
                os._exit(status)
        _, status, used = os.wait4(child, 0)
        answer = {"status": os.waitstatus_to_exitcode(status), "seconds": used.ru_utime + used.ru_stime}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
