"""How people type: makes a clean sentence casual (case, contractions, slang, typos, emoji, missing punctuation)."""

from __future__ import annotations

import random
import re

_SHORT = {
    "you": "u",
    "your": "ur",
    "are": "r",
    "please": "pls",
    "because": "cuz",
    "really": "rly",
    "though": "tho",
    "something": "smth",
    "people": "ppl",
    "tomorrow": "tmrw",
    "with": "w",
    "without": "w/o",
    "going to": "gonna",
    "want to": "wanna",
    "kind of": "kinda",
    "favourite": "fav",
    "to be honest": "tbh",
    "right now": "rn",
    "very": "v",
    "thanks": "thx",
    "about": "abt",
    "before": "b4",
    "definitely": "def",
    "probably": "prob",
    "okay": "ok",
    "would have": "woulda",
}
_OPENERS = (
    "lol",
    "omg",
    "ngl",
    "tbh",
    "hey",
    "um",
    "ok so",
    "well",
    "hmm",
    "btw",
    "bro",
    "honestly",
    "haha",
    "yo",
    "so",
)
_CLOSERS = ("lol", "haha", "tbh", "btw", "smh", "fr", "xD", ":)", "!!", "...", "😂", "😅", "🙃", "🙏", "👀", "😭", "✨")
EMOJI = ("😍", "😂", "😭", "🙈", "🔥", "💀", "❤️", "😅", "🤢", "🙄", "👍", "🥰", "😴", "🎉", "🙃", "🤷")


def make_casual(text: str, rng: random.Random) -> str:
    """One casual variant of `text`; the meaning stays. Deterministic for the state of `rng`."""
    text = text.lower() if rng.random() < 0.75 else text
    for word, short in _SHORT.items():
        if rng.random() < 0.3:
            text = re.sub(rf"\b{word}\b", short, text, flags=re.IGNORECASE)
    if rng.random() < 0.5:
        text = re.sub(r"(?<=\w)['’](?=\w)", "", text)
    if rng.random() < 0.5:
        text = re.sub(r"[.,;:]+(?=\s|$)", "", text)
    if rng.random() < 0.15:
        text = text.rstrip("?")
    if rng.random() < 0.25:
        text = _mistype(text, rng)
    if rng.random() < 0.2:
        text = f"{rng.choice(_OPENERS)}{rng.choice([' ', ', ', '... '])}{text}"
    if rng.random() < 0.3:
        text = f"{text.rstrip('.')} {rng.choice(_CLOSERS)}"
    return text


def _mistype(text: str, rng: random.Random) -> str:
    """One or two slips in long words: a letter doubled, dropped or swapped with the next."""
    words = text.split(" ")
    long = [index for index, word in enumerate(words) if len(word) > 4 and word.isalpha()]
    for index in rng.sample(long, min(len(long), rng.randint(1, 2))):
        word = words[index]
        at = rng.randrange(1, len(word) - 2)
        words[index] = rng.choice(
            [
                word[:at] + word[at] + word[at:],
                word[:at] + word[at + 1 :],
                word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            ]
        )
    return " ".join(words)
