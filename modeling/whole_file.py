"""Files that hold what somebody said: written whole or not at all, and readable by their owner only."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """
    Put `data` in the place of what a file holds, or leave the file as it is.

    A new file is readable by its owner only; one that was there keeps its permissions.

    Args:
        path (`Path`): The file; its folder must exist.
        data (`bytes`): All of it.
    """
    # A name of its own: two processes that write the same file must not share what is half written.
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(number, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, name)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
