"""Files that are there whole or not at all."""

import os
import tempfile
from pathlib import Path

from kdloss.errors import ConfigError


def write_atomically(path, content):
    """Writes bytes to ``path`` through a temporary sibling, making the folder if needed.

    Raises:
        ConfigError: the folder cannot be made or written.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise ConfigError(f"{path}: cannot be written ({error.strerror}): give --out another folder") from error
