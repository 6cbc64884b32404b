"""Files that a long run writes at its end."""

from __future__ import annotations

from pathlib import Path


def check_outputs(*paths: Path | None) -> None:
    """
    Before a run, whether it can write there.

    Raises:
        FileNotFoundError: if the folder of one of them is missing.
    """
    for path in paths:
        if path is not None and not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"'{path}' must be in a folder that exists. Make '{path.parent}' first.")
