"""The process in which one variant trains, as far as it is asked to."""

import contextlib
import os
import time

from kdloss.benchmarking.memory import peak_megabytes
from kdloss.benchmarking.worker import Server
from kdloss.errors import ConfigError, UserError

LEAD_IN = 0.25  # of a round's seconds: batches that were drawn while nobody trained are used up before the clock runs
ADVICE = "give a smaller --batch-size, or fewer --option"


class Trainer(Server):
    """Trains a variant in a process of its own; ``title`` is what messages call it.

    Args:
        work: the `Work`.
        variant: the `Variant`.
    """

    def __init__(self, work, variant):
        super().__init__(variant.title, _serve, work, variant, advice=ADVICE)
        self.title = variant.title

    def wait(self):
        """Waits until all is imported."""
        self.ask()

    def first_step(self):
        """Makes the networks and trains one step.

        Returns:
            For JSON: ``seconds`` from the call to the end of the step, the storing of teachers' points excepted;
            ``stored``: what that took, or None; ``environment``: see `kdloss.runs.environment`.

        Raises:
            ConfigError: it cannot; the message says why.
        """
        return self.ask(0, 0.0)

    def round(self, steps, seconds):
        """Trains on, for so many steps and seconds at least.

        Returns:
            For JSON: ``steps``, ``seconds`` and the peaks of memory up to then, ``megabytes`` and
            ``accelerator_megabytes``, None where the back end does not tell.
        """
        return self.ask(steps, seconds)


def write_files(work, backend):
    """Writes what all variants need, in a process of its own: teachers in random weights, and the published crops.

    Args:
        work: the `Work`.
        backend: of Keras, that writes the teachers.

    Raises:
        ConfigError: the batch is larger than the set, no such architecture, or too little memory.
    """
    with Server("the writing of teachers", _write, work, backend, advice=ADVICE) as writer:
        writer.ask()


class Pace:
    """Lets a training go on for a round, and answers how long it took.

    Args:
        connection: to whoever asks.
    """

    def __init__(self, connection):
        self._connection = connection
        self._connection.recv()
        self._connection.send(None)
        self._connection.recv()
        self._called, self._stored, self._round = time.perf_counter(), None, None

    def started(self, stored):
        """Networks are there; ``stored``: what the storing of teachers' points took."""
        self._stored = stored

    def after_step(self, steps):
        """Answers where a round is over, and then waits for the next."""
        now = time.perf_counter()
        if self._round is None:
            from kdloss.runs import environment

            taken = now - self._called - (self._stored["seconds"] if self._stored else 0)
            self._answer({"seconds": taken, "stored": self._stored, "environment": environment()})
        elif self._began is None:
            if now - self._asked >= LEAD_IN * self._round[1]:
                self._began = now
        else:
            self._steps += steps
            if self._steps >= self._round[0] and now - self._began >= self._round[1]:
                answer = {"steps": self._steps, "seconds": now - self._began, "megabytes": peak_megabytes()}
                self._answer(answer | {"accelerator_megabytes": _accelerator_megabytes()})

    def _answer(self, answer):
        self._connection.send(answer)
        self._round = self._connection.recv()
        self._asked, self._began, self._steps = time.perf_counter(), None, 0


def _serve(connection, work, variant):
    os.environ.update(variant.environment)
    with _explained():
        if variant.way == "published":
            from kdloss.benchmarking.published_loop import train_as_published

            pace = Pace(connection)
            train_as_published(work, pace.started, pace.after_step)
        else:
            from kdloss.benchmarking.project_training import train

            pace = Pace(connection)
            train(work, variant, pace.started, pace.after_step)


@contextlib.contextmanager
def _explained():
    """What a back end cannot do is one line for the table, whatever it raises."""
    try:
        yield
    except (EOFError, UserError):
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise ConfigError(f"{type(error).__name__}: {text[:200]}") from error


def _write(connection, work, backend):
    os.environ["KERAS_BACKEND"] = backend
    from kdloss.benchmarking.project_training import write_teachers
    from kdloss.benchmarking.published_loop import write_crops

    connection.recv()
    with _explained():
        write_crops(write_teachers(work), work.crops)
    connection.send(None)


def _accelerator_megabytes():
    import keras

    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        return torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else None
    if backend == "jax":
        import jax

        statistics = jax.devices()[0].memory_stats()
        return statistics["peak_bytes_in_use"] / 1e6 if statistics else None
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return None
    return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e6
