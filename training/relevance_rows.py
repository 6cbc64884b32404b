"""What somebody says of themself, and messages for which it matters or does not, though they look as if."""

from __future__ import annotations

from dataclasses import dataclass

from pref_lstm.modeling.turn import Turn

from .bank import Bank
from .turn_grammar import read_packaged


@dataclass(frozen=True)
class RelevanceRow:
    """
    One preference, and what its user may send later.

    Args:
        topic (`str`): What it is about; a question may concern others of its topic as well.
        forms (`tuple[Turn, …]`): Turns that reveal it.
        revised (`tuple[Turn, …]`): Turns on the same matter that say something else.
        different (`str`, *optional*): A statement of another preference on the same matter.
        questions (`tuple[str, …]`): Messages for which it matters.
        near (`tuple[str, …]`): Messages for which it does not, from its area of life or with its words in them.
    """

    topic: str
    forms: tuple[Turn, ...]
    revised: tuple[Turn, ...]
    different: str | None
    questions: tuple[str, ...]
    near: tuple[str, ...]


def relevance_rows(bank: Bank) -> list[RelevanceRow]:
    """A bank's preferences, which have no `near`, and the rows of `relevance.jsonl`, which have no `revised`."""
    of_bank = [
        RelevanceRow(p.topic, p.forms, (Turn(p.opposite),), p.different, p.questions, ()) for p in bank.preferences
    ]
    written = [
        RelevanceRow(
            row["topic"],
            (Turn(row["preference"]), Turn(row["casual"])),
            (),
            None,
            tuple(row["questions"]),
            tuple(row["near"]),
        )
        for row in read_packaged("relevance.jsonl")
    ]
    return [*of_bank, *written]
