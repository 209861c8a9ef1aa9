"""What a training shows of itself: a bar on a terminal, else a line for each epoch."""

import sys
import time

import keras
from tqdm import tqdm


class Display(keras.callbacks.Callback):
    """Shows which epoch of how many runs, the loss, the validation NME, and the time gone and left.

    Args:
        progress: the `Progress` of the run, which another callback keeps up to date.
        epochs: of the whole run.
        steps: of an epoch.
    """

    def __init__(self, progress, epochs, steps):
        super().__init__()
        self.epochs, self.steps = epochs, steps
        self.began, self.first = time.monotonic(), progress.epoch * steps + progress.step
        self.done, on_terminal = self.first, sys.stdout.isatty()
        how = {"total": epochs * steps, "initial": self.first, "unit": " steps", "leave": False, "dynamic_ncols": True}
        self.bar = tqdm(**how, file=sys.stdout, disable=not on_terminal)

    def close(self):
        """Removes the bar."""
        self.bar.close()

    def on_epoch_begin(self, epoch, logs=None):
        self.bar.set_description(f"epoch {epoch + 1}/{self.epochs}")

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        self.bar.set_postfix_str(f"loss {float(logs['loss']):.4g}", refresh=False)
        self.bar.update()

    def on_epoch_end(self, epoch, logs=None):
        gone = time.monotonic() - self.began
        left = gone / (self.done - self.first) * (self.epochs * self.steps - self.done)
        said = [f"epoch {epoch + 1}/{self.epochs}: loss {float(logs['loss']):.4g}"]
        said += [f"validation NME {logs['val_nme']:.3f} %"] if "val_nme" in logs else []
        said += [f"{tqdm.format_interval(gone)} gone", f"{tqdm.format_interval(left)} left"]
        self.bar.write(", ".join(said), file=sys.stdout)
        sys.stdout.flush()
