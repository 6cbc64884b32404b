"""The hand-written bank: preferences, questions for which they matter, and answers that honour them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from pref_lstm.modeling.turn import Turn

BANK_FILES = ("bank.jsonl", "bank_pairs.jsonl")


@dataclass(frozen=True)
class BankPreference:
    """
    One preference in several wordings, with its opposite.

    Args:
        topic (`str`): What it is about.
        forms (`tuple[Turn, …]`): Two or three turns that reveal it; the first says it outright.
        opposite (`str`): A statement that says the reverse.
        different (`str`, *optional*): A statement of another preference on the same matter.
        questions (`tuple[str, …]`): Three later questions for which it matters and which don't hint at it.
        answers (`tuple[str, …]`): Answers to the first one or two questions that take it up and honour it.
        opposite_answer (`str`): An answer to the first question for a user with the opposite preference.
    """

    topic: str
    forms: tuple[Turn, ...]
    opposite: str
    different: str | None
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    opposite_answer: str


@dataclass(frozen=True)
class BankTopic:
    """
    One topic.

    Args:
        topic (`str`): Its name.
        things (`tuple[str, …]`): Twenty things one can like or dislike in it.
        questions (`tuple[str, …]`): Eight questions for which nearly any preference of the topic matters.
    """

    topic: str
    things: tuple[str, ...]
    questions: tuple[str, ...]


@lru_cache
def load_bank() -> tuple[tuple[BankPreference, ...], tuple[BankTopic, ...]]:
    """The preferences and the topics of the bank, in its order."""
    preferences, topics = [], []
    for row in (json.loads(line) for name in BANK_FILES for line in _read(name).decode().splitlines()):
        if "things" in row:
            topics.append(BankTopic(row["topic"], tuple(row["things"]), tuple(row["questions"])))
        else:
            preferences.append(_preference(row))
    return tuple(preferences), tuple(topics)


def bank_fingerprint() -> str:
    """Short hash of the bank's files, for reports."""
    return hashlib.sha256(b"".join(_read(name) for name in BANK_FILES)).hexdigest()[:12]


def _preference(row: dict[str, Any]) -> BankPreference:
    questions = tuple(row["questions"])
    if "same" in row:  # bank_pairs.jsonl
        forms = (Turn(row["preference"]), Turn(row["same"]))
        opposite, answers, opposite_answer = row["reversed"], (row["answer"],), row["reversed_answer"]
    else:
        implicit = Turn(row["implicit"]["user"], row["implicit"]["agent"])
        forms = (Turn(row["explicit"]), Turn(row["casual"]), implicit)
        opposite, answers, opposite_answer = row["opposite"], tuple(row["answers"]), row["opposite_answer"]
    different = row.get("different")
    return BankPreference(row["topic"], forms, opposite, different, questions, answers, opposite_answer)


def _read(name: str) -> bytes:
    return (files("pref_lstm.training") / name).read_bytes()
