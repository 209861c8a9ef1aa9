"""Writing a file or a folder whole or not at all."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from asm.errors import UserError


@contextlib.contextmanager
def replacing(path):
    """Yields a temporary sibling of ``path`` that takes its place when the block ends well, and is removed otherwise.

    The sibling keeps the suffix, from which many writers choose their format. Missing folders are made.

    Raises:
        UserError: the file can't be written there.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}): give another place") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def new_folder(path):
    """Yields a temporary folder beside ``path`` that becomes it when the block ends well, and is removed otherwise.

    Args:
        path: of a folder that is not there yet. Missing folders above it are made.

    Raises:
        UserError: the folder can't be made there.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}): give another place") from error
    try:
        yield work
        work.chmod(0o755)
        os.replace(work, path)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write_whole(path, content):
    """Writes a text (as UTF-8) or bytes to ``path``, whole or not at all; see `replacing`."""
    with replacing(path) as work:
        work.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
