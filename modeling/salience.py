"""Which words of a turn carry its content, before any training."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

# Words that turn a preference's direction: they are frequent, so rarity alone would drop them, and "I do not like
# black" would come back as a love of black.
CUES = frozenset(
    (
        "not no never nor neither without avoid avoids hate hates dislike dislikes detest loathe despise refuse unless "
        "except allergic intolerant stop quit skip less rather instead against only always love loves loved like likes "
        "enjoy prefer prefers favourite favorite adore want need must more cannot cant dont wont isnt"
    ).split()
)
# What one thing is preferred to, and what is asked for together: before other function words.
_JOINING = frozenset("and but or over than".split())
_STOP_WORDS = (ENGLISH_STOP_WORDS - CUES) | frozenset("i'm i've i'd i'll it's im ive really very just please".split())
# "peer-to-peer" is one word: without its hyphens an LM reads other tokens.
_WORD = re.compile(r"\w+(?:[-'’.&/]\w+)*")
_LATER = 1e-4
_NEGATED = re.compile(r"n['’]t$", re.IGNORECASE)


def token_salience(
    text: str, offsets: Sequence[tuple[int, int]], token_ids: Sequence[int], vocab_size: int
) -> list[float]:
    """
    Salience of each LM token of `text`: cues of direction 2 and more, content words 1 to 2 with the rarity of their
    rarest token, words that join two things 0.5 to 1, other function words and punctuation below 0.5. The tokens of one
    word share its value, which no other word has: of equal ones the earlier is a little higher.

    Rarity is the logarithm of the token's id over that of the vocabulary's size: BPE and unigram vocabularies are
    ordered by frequency.

    Args:
        text (`str`): The turn.
        offsets (`Sequence[tuple[int, int]]`): Character span of each token.
        token_ids (`Sequence[int]`): Their ids.
        vocab_size (`int`): Size of the vocabulary.

    Returns:
        `list[float]`, one number per token.
    """
    rarity = [math.log(i + 2) / math.log(vocab_size + 2) for i in token_ids]
    out = [0.1 * r - _LATER * i for i, r in enumerate(rarity)]
    for number, word in enumerate(_WORD.finditer(text)):
        start, end = word.span()
        inside = [i for i, (a, b) in enumerate(offsets) if a < end and b > start]
        if not inside:
            continue
        lower = word.group().lower()
        rarest = max(rarity[i] for i in inside)
        if lower in CUES or _NEGATED.search(lower):
            value = 2.0 + rarest
        elif lower in _JOINING:
            value = 0.5 + 0.5 * rarest
        elif lower in _STOP_WORDS:
            value = 0.5 * rarest
        else:
            value = 1.0 + rarest
        for i in inside:
            out[i] = value - _LATER * number
    return out
