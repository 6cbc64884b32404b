"""The patterns of [`HeuristicDetector`]: what a revealed preference looks like in a dependency parse."""

from __future__ import annotations

from typing import Any

Pattern = list[dict[str, Any]]

# One list of lemmas (or lower-case forms) a line.
_WORDS = {
    name: words.split()
    for name, words in {
        "opinion_verbs": (
            "adore avoid crave despise detest dislike dread enjoy fancy favor favour hate like loathe love "
            "prefer savor savour treasure cherish appreciate boycott shun resent luv h8"
        ),
        "negated_verbs": "abide bear care do drink eat handle mind stand stomach tolerate touch trust want wear buy "
        "watch",
        "state_words": (
            "addicted afraid allergic averse celiac coeliac diabetic fond hooked intolerant keen obsessed "
            "partial passionate phobic picky scared sensitive squeamish terrified vegan vegetarian "
            "pescatarian teetotal kosher halal colorblind colourblind dyslexic frugal claustrophobic fussy "
            "crazy nuts sober mad"
        ),
        "state_nouns": (
            "addict aficionado believer buff devotee enthusiast fan fanatic freak geek junkie lover nerd "
            "pescatarian person purist sucker vegan vegetarian snob minimalist introvert teetotaller "
            "teetotaler hater celiac coeliac"
        ),
        "habit_words": "always usually never rarely normally typically generally mostly seldom hardly exclusively",
        "possessed": (
            "allergy aversion dealbreaker diet dream fave favorite favourite fav intolerance jam obsession "
            "passion phobia preference sensitivity thing weakness taste hobby nightmare peeve priority "
            "religion"
        ),
        "affect_verbs": (
            "annoy bore bother bug calm delight depress disgust distract drain excite exhaust frighten "
            "irritate relax scare sicken soothe stress terrify trigger upset"
        ),
        "style_verbs": (
            "address answer avoid call keep limit reply respond skip speak spare stick stop use write explain"
        ),
    }.items()
}

_FIRST = {"LEMMA": {"IN": ["I", "we"]}, "DEP": {"IN": ["nsubj", "nsubjpass"]}}


def _child(of: str, name: str, attributes: dict[str, Any]) -> dict[str, Any]:
    return {"LEFT_ID": of, "REL_OP": ">", "RIGHT_ID": name, "RIGHT_ATTRS": attributes}


def _anchor(attributes: dict[str, Any]) -> dict[str, Any]:
    return {"RIGHT_ID": "anchor", "RIGHT_ATTRS": attributes}


_NEGATION = {"LEMMA": {"IN": ["not", "never", "hardly", "barely", "no"]}}
_ME = {"LOWER": {"IN": ["me", "us"]}}

# Rule name -> patterns. The anchor of each pattern is the word whose context `HeuristicDetector` checks.
RULES: dict[str, list[Pattern]] = {
    "opinion": [
        [_anchor({"LEMMA": {"IN": _WORDS["opinion_verbs"]}}), _child("anchor", "subject", _FIRST)],
    ],
    "negation": [
        [
            _anchor({"LEMMA": {"IN": [*_WORDS["opinion_verbs"], *_WORDS["negated_verbs"]]}}),
            _child("anchor", "negation", _NEGATION),
            _child("anchor", "subject", _FIRST),
        ],
    ],
    "desire": [
        [
            _anchor({"POS": "VERB"}),
            _child("anchor", "rather", {"LOWER": "rather"}),
            _child("anchor", "subject", _FIRST),
        ],
        [
            _anchor({"LEMMA": {"IN": ["want", "need"]}}),
            _child("anchor", "always", {"LOWER": {"IN": ["always", "only"]}}),
            _child("anchor", "subject", _FIRST),
        ],
    ],
    "habit": [
        [
            _anchor({"POS": {"IN": ["VERB", "AUX"]}}),
            _child("anchor", "habit", {"LOWER": {"IN": _WORDS["habit_words"]}}),
            _child("anchor", "subject", _FIRST),
        ],
    ],
    "constraint": [
        [
            _anchor({"LOWER": {"IN": ["am", "'m", "m", "’m", "be", "was", "been", "im", "get", "'ve", "are"]}}),
            _child("anchor", "state", {"LOWER": {"IN": _WORDS["state_words"]}}),
            _child("anchor", "subject", _FIRST),
        ],
        [
            _anchor({"LEMMA": {"IN": ["be", "m", "’m"]}}),
            _child("anchor", "noun", {"LEMMA": {"IN": _WORDS["state_nouns"]}, "DEP": "attr"}),
            _child("anchor", "subject", _FIRST),
        ],
        [
            _anchor({"LEMMA": "have"}),
            _child("anchor", "subject", _FIRST),
            _child(
                "anchor",
                "noun",
                {"LEMMA": {"IN": ["allergy", "aversion", "intolerance", "phobia", "soft", "preference"]}},
            ),
        ],
    ],
    "possession": [
        [
            _anchor({"LOWER": {"REGEX": "^fav(ou?rite|e)?s?$"}, "DEP": "amod"}),
            {"LEFT_ID": "anchor", "REL_OP": "<", "RIGHT_ID": "noun", "RIGHT_ATTRS": {}},
            _child("noun", "owner", {"LOWER": "my"}),
        ],
        [
            _anchor({"LEMMA": {"IN": _WORDS["possessed"]}, "DEP": {"IN": ["attr", "nsubj", "ROOT", "appos"]}}),
            _child("anchor", "owner", {"LOWER": "my"}),
        ],
    ],
    "effect": [
        [_anchor({"LEMMA": {"IN": _WORDS["affect_verbs"]}}), _child("anchor", "object", {**_ME, "DEP": "dobj"})],
        [
            _anchor({"LEMMA": {"IN": ["make", "drive", "give"]}}),
            _child("anchor", "subject", {"DEP": "nsubj", "LOWER": {"NOT_IN": ["you"]}}),
            {"LEFT_ID": "anchor", "REL_OP": ">>", "RIGHT_ID": "object", "RIGHT_ATTRS": _ME},
            {
                "LEFT_ID": "anchor",
                "REL_OP": ">>",
                "RIGHT_ID": "state",
                "RIGHT_ATTRS": {
                    "LOWER": {
                        "IN": [
                            "sick",
                            "crazy",
                            "happy",
                            "anxious",
                            "nauseous",
                            "mad",
                            "headaches",
                            "headache",
                            "hives",
                            "creeps",
                            "smile",
                            "ill",
                            "sleepy",
                            "nuts",
                        ]
                    }
                },
            },
        ],
    ],
    "instruction": [
        [
            _anchor({"TAG": {"IN": ["VB", "VBP"]}, "DEP": {"IN": ["ROOT", "conj", "ccomp"]}}),
            _child("anchor", "always", {"LOWER": {"IN": ["always", "never", "ever"]}}),
        ],
        [
            _anchor({"LEMMA": {"IN": _WORDS["style_verbs"]}, "TAG": {"IN": ["VB", "VBP"]}, "DEP": "ROOT"}),
            _child("anchor", "politeness", {"LOWER": {"IN": ["please", "pls", "plz"]}}),
            _child("anchor", "object", {"DEP": {"IN": ["dobj", "xcomp", "oprd", "prep"]}}),
        ],
        [
            _anchor({"TAG": {"IN": ["VB", "VBP"]}, "DEP": "ROOT"}),
            _child("anchor", "from", {"LOWER": "from"}),
            {"LEFT_ID": "from", "REL_OP": ">", "RIGHT_ID": "now", "RIGHT_ATTRS": {"LOWER": "now"}},
        ],
    ],
    "dropped subject": [
        [
            _anchor(
                {
                    "LEMMA": {"IN": [v for v in _WORDS["opinion_verbs"] if v not in ("like", "fancy", "avoid")]},
                    "DEP": "ROOT",
                    "IS_SENT_START": True,
                }
            )
        ],
    ],
}
