"""Training conversations: what a user stated, what is asked later, and an answer that honours it."""

from __future__ import annotations

from typing import Any

from .bank import load_bank


def bank_conversations() -> list[dict[str, Any]]:
    """
    One conversation for each hand-written answer.

    Returns:
        `list[dict]`: `topic`; `statement` (what the teacher reads); `forms` (turns that reveal it, of which one is
        written); `question`; `answer`; `source` (`bank` or `opposite`).
    """
    rows = []
    for p in load_bank()[0]:
        forms = [
            {"agent": "", "user": p.explicit},
            {"agent": "", "user": p.casual},
            {"agent": p.implicit_agent, "user": p.implicit_user},
        ]
        for question, answer in zip(p.questions, p.answers, strict=False):
            rows.append(_row(p.topic, p.explicit, forms, question, answer, "bank"))
        reverse = [{"agent": "", "user": p.opposite}]
        rows.append(_row(p.topic, p.opposite, reverse, p.questions[0], p.opposite_answer, "opposite"))
    return rows


def _row(
    topic: str, statement: str, forms: list[dict[str, str]], question: str, answer: str, source: str
) -> dict[str, Any]:
    return {
        "topic": topic,
        "statement": statement,
        "forms": forms,
        "question": question,
        "answer": answer,
        "source": source,
    }
