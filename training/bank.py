"""The hand-written bank: preferences, questions for which they matter, and answers that honour them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

_FILE = "bank.jsonl"


@dataclass(frozen=True)
class BankPreference:
    """
    One preference in several wordings, with its opposite.

    Args:
        topic (`str`): One of 98.
        kind (`str`): `like`, `dislike`, `allergy`, `habit`, `constraint`, `format` or `style`.
        polarity (`int`): 1 if the user wants the thing, -1 if the user avoids it.
        thing (`str`): What it is about, lower case.
        explicit, casual, opposite (`str`): First-person statements; the last one says the reverse.
        implicit_agent, implicit_user (`str`): A turn that reveals it only indirectly.
        questions (`tuple[str, …]`): Three later questions for which it matters and which don't hint at it.
        answers (`tuple[str, …]`): Answers to the first two questions that take it up and honour it.
        opposite_answer (`str`): An answer to the first question for a user with the opposite preference.
    """

    topic: str
    kind: str
    polarity: int
    thing: str
    explicit: str
    casual: str
    opposite: str
    implicit_agent: str
    implicit_user: str
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
    text = (files("pref_lstm.training") / _FILE).read_text(encoding="utf-8")
    for line in text.splitlines():
        row = json.loads(line)
        if "things" in row:
            topics.append(BankTopic(row["topic"], tuple(row["things"]), tuple(row["questions"])))
            continue
        implicit = row.pop("implicit")
        row["questions"], row["answers"] = tuple(row["questions"]), tuple(row["answers"])
        preferences.append(BankPreference(**row, implicit_agent=implicit["agent"], implicit_user=implicit["user"]))
    return tuple(preferences), tuple(topics)


def bank_fingerprint() -> str:
    """Short hash of the bank's file, for reports."""
    return hashlib.sha256((files("pref_lstm.training") / _FILE).read_bytes()).hexdigest()[:12]
