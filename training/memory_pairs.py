"""Opposite preferences: does the memory keep which way round a preference was, and which of two came later?"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from .likelihood import AnswerScorer, Reading
from .teacher import answer_ids

# What is read for each question by a user who stated these texts in this order.
Read = Callable[[Sequence[Sequence[str]], Sequence[str]], list[Reading]]
_MAX_ANSWER_TOKENS = 96


def load_pairs(path: str | Path) -> list[dict[str, str]]:
    """Rows `{"preference", "opposite", "question", "answer", "opposite_answer"}` of a JSONL file."""
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]


def polarity(scorer: AnswerScorer, read: Read, pairs: Sequence[dict[str, str]]) -> list[float]:
    """
    For each pair, the share of its two answers that are likelier where what they follow was stated than where its
    opposite was. A tie counts as a failure.
    """
    rows = _directions(pairs)
    questions = [question for *_, question, _, _ in rows]
    answers = [answer for *_, answer, _ in rows]
    own = _nll(scorer, read([[stated] for stated, *_ in rows], questions), answers)
    against = _nll(scorer, read([[opposite] for _, opposite, *_ in rows], questions), answers)
    return _by_pair(own, against)


def contradiction(scorer: AnswerScorer, read: Read, pairs: Sequence[dict[str, str]]) -> list[float]:
    """
    For each pair, the share of its two orders in which an answer that follows the later statement is likelier than one
    that follows the earlier. Answers are compared per token.
    """
    rows = _directions(pairs)
    questions = [question for *_, question, _, _ in rows]
    readings = read([[earlier, later] for later, earlier, *_ in rows], questions)
    follows = _nll(scorer, readings, [answer for *_, answer, _ in rows])
    lags = _nll(scorer, readings, [answer for *_, answer in rows])
    return _by_pair(follows, lags)


def _by_pair(lower: Sequence[float], higher: Sequence[float]) -> list[float]:
    """How often the former is below, for each pair: its second direction stands in the second half."""
    hits = [a < b for a, b in zip(lower, higher, strict=True)]
    half = len(hits) // 2
    return [(first + second) / 2 for first, second in zip(hits[:half], hits[half:], strict=True)]


def _directions(pairs: Sequence[dict[str, str]]) -> list[tuple[str, str, str, str, str]]:
    """Stated, opposite, question, answer that follows the stated, answer that follows the opposite."""
    forward = [(p["preference"], p["opposite"], p["question"], p["answer"], p["opposite_answer"]) for p in pairs]
    return forward + [(b, a, question, y, x) for a, b, question, x, y in forward]


def _nll(scorer: AnswerScorer, readings: Sequence[Reading], answers: Sequence[str]) -> list[float]:
    ids = [answer_ids(scorer.tokenizer, answer, _MAX_ANSWER_TOKENS) for answer in answers]
    return [sum(values) / len(values) for values in scorer.nll(readings, ids)]
