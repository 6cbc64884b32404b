"""JSON lines from a file, with errors that name the line."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def read_json_lines(
    path: str | Path, fields: Sequence[str], wrong: Callable[[dict[str, Any]], str] = lambda row: ""
) -> list[dict[str, Any]]:
    """
    The objects of a JSONL file; blank lines are left out.

    Args:
        path (`str` or `Path`): UTF-8, one object a line.
        fields (`Sequence[str]`): What each must have.
        wrong (`Callable[[dict], str]`, *optional*): What else is wrong with one; empty if nothing is.

    Raises:
        ValueError: on a line that is no such object. The message names the line.
    """
    rows = []
    with Path(path).open(encoding="utf-8") as file:  # its lines end at line feeds only: JSON may hold other separators
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                found = f"no JSON ({error.msg})"
            else:
                found = _missing(row, fields) or wrong(row)
            if found:
                names = ", ".join(f"`{name}`" for name in fields)
                raise ValueError(
                    f"{Path(path).name}, line {number}: expected an object with {names}, got {found}. Mend the line."
                )
            rows.append(row)
    return rows


def _missing(row: Any, fields: Sequence[str]) -> str:
    if not isinstance(row, dict):
        return f"a {type(row).__name__}"
    return " and ".join(f"no `{name}`" for name in fields if name not in row)
