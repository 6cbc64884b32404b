"""Does an answer name what a preference is about?"""

from __future__ import annotations

import re

from pref_lstm.modeling.salience import CUES
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

_WORD = re.compile(r"[^\W\d_]{3,}")
_ENDING = re.compile(r"(ations?|ings?|ness|ment|ies|ers?|ed|es|ly|s|y|e)$")
# Words that say that something is a preference, not what it is about.
_ATTITUDE = (
    "absolutely strongly severe strict strictly preference opinion feel find think despise loathe cannot "
    "don doesn won isn can please make sure important comfortable uncomfortable"
).split()


def stem(word: str) -> str:
    """A word without its ending, at least four letters of it: rough, and the same for answer and preference."""
    lower = word.lower()
    short = _ENDING.sub("", lower)
    return short if len(short) >= 4 else lower[:4]


_IGNORED = frozenset(stem(word) for word in (*ENGLISH_STOP_WORDS, *CUES, *_ATTITUDE))


def stems(text: str) -> set[str]:
    """The stems of a text's content words."""
    return {stem(word) for word in _WORD.findall(text)} - _IGNORED


def mentions(answer: str, preference: str, question: str) -> bool:
    """Whether an answer names a content word of the preference that the question does not contain."""
    return bool((stems(preference) - stems(question)) & stems(answer))
