"""The folder beside a prepared set in which it grows: it outlives the process, and the next run goes on in it."""

import contextlib
import os
import shutil
import sys

from asm.atomic import write_whole
from asm.locks import held
from data_prep.processes import ProcessLost
from kdloss.errors import DataError
from kdloss.manifest import is_prepared


class WorkFolder:
    """``.OUT.preparing`` beside OUT.

    Attributes:
        folder: what becomes OUT.
        chunks: for what is known of the faces.
        all_cut: is there when all chunks are done, and their faces may have left their places.
    """

    def __init__(self, out, key=None):
        """Makes nothing yet.

        Args:
            out: a `Path`.
            key: a text for a folder's name, of all that the result depends on. None: of things that cannot be had
                again, so that it never stays.
        """
        self.out, self.path, self._key = out, out.with_name(f".{out.name}.preparing"), key or "once"
        self.folder, self.chunks = self.path / self._key / "set", self.path / self._key / "chunks"
        self.all_cut = self.path / self._key / "all cut"
        self._may_stay = key is not None
        self._old, self._moved = self.path / "old", self.path / "moved"

    @contextlib.contextmanager
    def held(self):
        """Makes the folder, and removes it when the block ends: because the set is made, or because it cannot be.

        It stays if the block is interrupted. Held again, under the same key, it has what was done.

        Raises:
            UserError: another process makes the same set.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with held(self.path):
            if not self.path.is_dir():
                raise DataError(f"{self.out}: another process has just made it: run the same command again to see it")
            stays = False
            try:
                self._begin()
                yield
            except BaseException as error:
                interrupted = not isinstance(error, Exception)
                stays = self._may_stay and (interrupted or isinstance(error, ProcessLost))
                if stays and interrupted:
                    print(f"{self.out}: what is done is kept: run the same command again to go on", file=sys.stderr)
                raise
            finally:
                if not stays:
                    self._end()

    def _begin(self):
        """Removes what belongs to another key, and makes the folders."""
        if self._old.exists() and not self.out.exists():  # killed between the two renames of `finish`
            os.replace(self._old, self.out)
        for path in self.path.iterdir():
            if path.name not in (self._key, self._moved.name):
                _remove(path)
        if not self.is_finished:
            self._moved.unlink(missing_ok=True)
            self.folder.mkdir(parents=True, exist_ok=True)
            self.chunks.mkdir(exist_ok=True)

    @property
    def is_finished(self):
        """True if a run with the same key ended, but for the removal of this folder."""
        moved = self._may_stay and self._moved.is_file() and self._moved.read_text(encoding="utf-8") == self._key
        return moved and not self.folder.exists() and is_prepared(self.out)

    def finish(self):
        """Puts the set in its place; what was there is removed only after that."""
        write_whole(self._moved, self._key)
        if self.out.exists():
            os.replace(self.out, self._old)
        os.replace(self.folder, self.out)

    def _end(self):
        """Removes the folder, the mark that all is done last."""
        for path in sorted(self.path.iterdir(), key=lambda path: path == self._moved):
            _remove(path)
        shutil.rmtree(self.path, ignore_errors=True)


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
