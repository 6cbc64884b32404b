"""Turns out of the hand-written bank of preferences: statements that reveal one, and questions that don't."""

from __future__ import annotations

import re
from typing import Any

from pref_lstm.modeling.turn import Turn

from .bank import BankPreference, load_bank
from .turn_grammar import split_items

STATEMENTS = ("statement", "opposite", "different")


def load_bank_turns() -> list[dict[str, Any]]:
    """
    The bank as labelled turns, split by topic.

    Of each preference come its forms (an implicit one with its agent's line), its opposite and the different
    preference on the same matter (`preference` = 1), two questions that its user asks later, and the opening of an
    answer, which says "you" where its user says "I" (0); of each topic its questions (0).

    Returns:
        `list[dict]`: `{"agent", "user", "preference", "family", "topic", "split"}`.
    """
    preferences, topics = load_bank()
    names = {row.topic for row in preferences} | {row.topic for row in topics}
    split_of = {topic: split for split, part in split_items(sorted(names)).items() for topic in part}
    said = [(row.topic, *turn) for row in preferences for turn in _turns(row)]
    said += [(row.topic, "question", Turn(question), 0) for row in topics for question in row.questions]
    return [
        {
            "agent": turn.agent,
            "user": turn.user,
            "preference": preference,
            "family": f"bank_{kind}",
            "topic": topic,
            "split": split_of[topic],
        }
        for topic, kind, turn, preference in said
    ]


def _turns(row: BankPreference) -> list[tuple[str, Turn, int]]:
    turns = [("implicit" if form.agent else "statement", form, 1) for form in row.forms]
    turns.append(("opposite", Turn(row.opposite), 1))
    if row.different is not None:
        turns.append(("different", Turn(row.different), 1))
    turns += [("question", Turn(question), 0) for question in row.questions[:2]]
    turns.append(("answer", Turn(re.split(r"(?<=[.!?:])\s", row.answers[0])[0]), 0))
    return turns
