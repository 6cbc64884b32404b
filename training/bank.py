"""The hand-written bank: preferences, questions for which they matter, and answers that honour them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

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


class Bank(NamedTuple):
    """
    All that training draws from.

    Args:
        preferences (`tuple[BankPreference, …]`): In the files' order.
        topics (`tuple[BankTopic, …]`): Likewise.
    """

    preferences: tuple[BankPreference, ...]
    topics: tuple[BankTopic, ...]


@lru_cache
def load_bank(paths: tuple[Path, ...] = ()) -> Bank:
    """
    Read a bank.

    Args:
        paths (`tuple[Path, …]`, defaults to those of the package): JSON lines as in `bank.jsonl` and
            `bank_pairs.jsonl`.

    Raises:
        ValueError: if a line is none of theirs.
    """
    preferences, topics = [], []
    for name, text in _read(paths):
        for number, line in enumerate(text.decode().splitlines(), 1):
            try:
                row = json.loads(line)
                if "things" in row:
                    topics.append(BankTopic(row["topic"], tuple(row["things"]), tuple(row["questions"])))
                else:
                    preferences.append(_preference(row))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"Line {number} of the bank '{name}' must be a preference or a topic as in {list(BANK_FILES)}, but "
                    f"is not ({type(error).__name__}: {error}). docs/recipes.md says which keys these have."
                ) from None
    return Bank(tuple(preferences), tuple(topics))


def bank_fingerprint(paths: tuple[Path, ...] = ()) -> str:
    """Short hash of the bank's files, for reports."""
    return hashlib.sha256(b"".join(text for _, text in _read(paths))).hexdigest()[:12]


def _preference(row: dict[str, Any]) -> BankPreference:
    questions = tuple(row["questions"])
    forms: tuple[Turn, ...]
    if "same" in row:  # bank_pairs.jsonl
        forms = (Turn(row["preference"]), Turn(row["same"]))
        opposite, answers, opposite_answer = row["reversed"], (row["answer"],), row["reversed_answer"]
    else:
        implicit = Turn(row["implicit"]["user"], row["implicit"]["agent"])
        forms = (Turn(row["explicit"]), Turn(row["casual"]), implicit)
        opposite, answers, opposite_answer = row["opposite"], tuple(row["answers"]), row["opposite_answer"]
    different = row.get("different")
    return BankPreference(row["topic"], forms, opposite, different, questions, answers, opposite_answer)


def _read(paths: tuple[Path, ...]) -> list[tuple[str, bytes]]:
    shipped = [files("pref_lstm.training") / name for name in BANK_FILES]
    return [(file.name, file.read_bytes()) for file in paths or shipped]
