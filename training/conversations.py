"""Training conversations: what a user stated, what is asked later, and an answer that honours it."""

from __future__ import annotations

from typing import Any

from pref_lstm.modeling.turn import Turn

from .bank import Bank

# How many of an answer's first tokens the bare LM teaches: whether to answer at all is not the memory's to decide, and
# a teacher that reads a preference apologises twice as often as the bare LM does.
_NUM_BARE_BY_HAND, _NUM_BARE_OWN = 1, 6
_NUM_BARE_ALL = 1_000
_WHAT_WAS_SAID = (
    "What did I tell you about this?",
    "Please repeat what I said about myself.",
    "Remind me: what do I prefer?",
    "What do you remember about me?",
    "In my own words, what did I say?",
    "Which of my preferences do you have in mind?",
)


def bank_conversations(bank: Bank) -> list[dict[str, Any]]:
    """
    One conversation for each hand-written answer, and two for each question without one.

    Returns:
        `list[dict]`: `topic`; `statement` (what the teacher reads where it matters); `forms` (turns that reveal it);
        `matters` (whether one of them is written, or turns of other topics only); `question`; `answer` (empty: the
        bare LM's own); `num_bare_tokens` (how many of its first tokens the bare LM teaches); `source`.

        Sources are `first` (the answer to the first question), `second` and `opposite`, with `pair_` before them for
        preferences of `bank_pairs.jsonl`; `own` (the LM's own answer) and `mismatched` (the same, and nothing stored
        matters) to the other questions.
    """
    rows = []
    for p in bank.preferences:
        part = "pair_" if p.different else ""
        for source, question, answer in zip(("first", "second"), p.questions, p.answers, strict=False):
            rows.append(_row(p.topic, p.forms, question, answer, part + source))
        rows.append(_row(p.topic, (Turn(p.opposite),), p.questions[0], p.opposite_answer, part + "opposite"))
        for question in p.questions[len(p.answers) :]:
            row = _row(p.topic, p.forms, question, "", "own", _NUM_BARE_OWN)
            rows += [row, {**row, "matters": False, "num_bare_tokens": _NUM_BARE_ALL, "source": "mismatched"}]
    return rows


def bank_restatements(bank: Bank) -> list[dict[str, Any]]:
    """
    One conversation for each preference, and one for its opposite: asked what was said, the answer is that.

    Returns:
        `list[dict]`: As of [`bank_conversations`], of the source `restated`.
    """
    turns = [(p.topic, turn) for p in bank.preferences for turn in (p.forms[0], Turn(p.opposite))]
    return [
        _row(topic, (turn,), _WHAT_WAS_SAID[i % len(_WHAT_WAS_SAID)], turn.user, "restated", 0)
        for i, (topic, turn) in enumerate(turns)
    ]


def _row(
    topic: str,
    forms: tuple[Turn, ...],
    question: str,
    answer: str,
    source: str,
    num_bare_tokens: int = _NUM_BARE_BY_HAND,
) -> dict[str, Any]:
    return {
        "topic": topic,
        "statement": forms[0].user,
        "forms": [{"agent": turn.agent, "user": turn.user} for turn in forms],
        "matters": True,
        "question": question,
        "answer": answer,
        "num_bare_tokens": num_bare_tokens,
        "source": source,
    }
