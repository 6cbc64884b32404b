"""Training conversations: what a user stated, what is asked later, and an answer that honours it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pref_lstm.modeling.turn import Turn

from .bank import BankPreference


def bank_conversations(preferences: Iterable[BankPreference]) -> list[dict[str, Any]]:
    """
    One conversation for each hand-written answer.

    Returns:
        `list[dict]`: `topic`; `statement` (what the teacher reads); `forms` (turns that reveal it, of which one is
        written); `question`; `answer`; `source`: `first` (the answer to the first question), `second` or
        `opposite`, with `pair_` before it for preferences of `bank_pairs.jsonl`.
    """
    rows = []
    for p in preferences:
        part = "pair_" if p.different else ""
        for source, question, answer in zip(("first", "second"), p.questions, p.answers, strict=False):
            rows.append(_row(p.topic, p.forms, question, answer, part + source))
        rows.append(_row(p.topic, (Turn(p.opposite),), p.questions[0], p.opposite_answer, part + "opposite"))
    return rows


def _row(topic: str, forms: tuple[Turn, ...], question: str, answer: str, source: str) -> dict[str, Any]:
    return {
        "topic": topic,
        "statement": forms[0].user,
        "forms": [{"agent": turn.agent, "user": turn.user} for turn in forms],
        "question": question,
        "answer": answer,
        "source": source,
    }
