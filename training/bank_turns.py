"""Turns out of the hand-written bank of preferences: statements that reveal one, and questions that don't."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from .turn_grammar import split_items

STATEMENTS = ("explicit", "casual", "opposite")


def load_bank_turns(path: str | Path | None = None) -> list[dict[str, Any]]:
    """
    The bank as labelled turns, split by topic.

    Of each preference come its explicit, casual and opposite statements and the implicit reply with its agent's line
    (`preference` = 1), and the questions that its user asks later (0); of each topic its questions (0).

    Args:
        path (`str` or `Path`, *optional*): The bank. Left out: the packaged `training/bank.jsonl`.

    Returns:
        `list[dict]`: `{"agent", "user", "preference", "family", "topic", "split"}`.
    """
    source = Path(path) if path is not None else files("pref_lstm.training") / "bank.jsonl"
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    split_of = {topic: split for split, topics in split_items(_topics(rows)).items() for topic in topics}
    turns = []
    for row in rows:
        said = [("question", "", question, 0) for question in row["questions"]]
        if "explicit" in row:
            said += [(kind, "", row[kind], 1) for kind in STATEMENTS]
            said.append(("implicit", row["implicit"]["agent"], row["implicit"]["user"], 1))
        turns += [
            {
                "agent": agent,
                "user": user,
                "preference": preference,
                "family": f"bank_{kind}",
                "topic": row["topic"],
                "split": split_of[row["topic"]],
            }
            for kind, agent, user, preference in said
        ]
    return turns


def _topics(rows: list[dict[str, Any]]) -> list[str]:
    return sorted({row["topic"] for row in rows})
