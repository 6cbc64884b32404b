"""AlpsBench's English user turns (annotated WildChat, ODC-BY), split by session."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

from .json_lines import read_json_lines


def alpsbench_split(session: str) -> Literal["train", "test"]:
    """The part a session belongs to."""
    return "test" if int(hashlib.sha256(session.encode()).hexdigest(), 16) % 2 else "train"


def load_alpsbench(path: str | Path) -> list[dict[str, Any]]:
    """
    The turns of a file with the fields `session`, `agent`, `user`, `preference` and `memory`.

    `preference` is noisy: it was set by matching annotated evidence to turns, which misses some. `memory` marks
    turns with any fact worth remembering.

    Returns:
        `list[dict]`: `{"agent", "user", "preference", "memory", "session", "split"}` per turn that holds text.
    """
    rows = read_json_lines(path, ("session", "agent", "user", "preference", "memory"))
    return [
        {
            "agent": row["agent"] or "",
            "user": row["user"],
            "preference": row["preference"],
            "memory": row["memory"],
            "session": row["session"],
            "split": alpsbench_split(row["session"]),
        }
        for row in rows
        if (row["user"] or "").strip()
    ]
