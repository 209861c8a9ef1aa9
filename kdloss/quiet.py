"""Commands without what network libraries say of themselves; ``TF_CPP_MIN_LOG_LEVEL=0`` shows all of it."""

import contextlib
import importlib.abc
import importlib.machinery
import logging
import os
import sys

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def quiet_libraries():
    """Makes network libraries that are imported from now on report no more than what ends the process."""
    if os.environ.setdefault(_LEVEL, "3") in ("0", "1"):
        return
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if not any(isinstance(finder, _TensorFlowFinder) for finder in sys.meta_path):
        sys.meta_path.insert(sys.meta_path.index(importlib.machinery.PathFinder), _TensorFlowFinder())


@contextlib.contextmanager
def without_messages():
    """Drops what is written to the standard error within, from C too. What is wrong comes as an exception."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class _TensorFlowFinder(importlib.abc.MetaPathFinder):
    """Lets TensorFlow be imported without messages: its first ones come before it reads the level."""

    def find_spec(self, name, path=None, target=None):
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if name == "tensorflow" else None
        if spec:
            execute = spec.loader.exec_module
            spec.loader.exec_module = lambda module: without_messages()(execute)(module)
        return spec
