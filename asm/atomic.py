"""Writing a file whole or not at all."""

import contextlib
import os
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


def write_whole(path, content):
    """Writes a text (as UTF-8) or bytes to ``path``, whole or not at all; see `replacing`."""
    with replacing(path) as work:
        work.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
