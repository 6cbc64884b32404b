"""A conversation in a JSON file, where nothing stays that was taken back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pref_lstm.modeling.whole_file import write_whole


class ConversationLog:
    """
    One row for each message and its answer.

    Args:
        path (`Path`, *optional*): The file; without one nothing is written.

    Raises:
        FileNotFoundError: if its folder does not exist.
    """

    def __init__(self, path: Path | None) -> None:
        if path is not None and not path.parent.is_dir():
            raise FileNotFoundError(f"'{path}' must be in a folder that exists. Make '{path.parent}' first.")
        # A link is followed: replacing it would leave what it points to.
        self._path = None if path is None else path.resolve()
        self.rows: list[dict[str, Any]] = []

    def write(self) -> None:
        """Write the rows in the place of what the file held, whole or not at all; a new file is its owner's only."""
        if self._path is None:
            return
        text = json.dumps(self.rows, indent=2, ensure_ascii=False) + "\n"
        if self._path.exists() and not self._path.is_file():  # a terminal or a pipe
            self._path.write_text(text, encoding="utf-8")
            return
        write_whole(self._path, text.encode())
