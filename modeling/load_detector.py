"""From a name to a detector: a folder, a hub id, the rules, or the shipped default."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from transformers import AutoTokenizer

from .classifier_detector import ClassifierDetector
from .heuristic_detector import HeuristicDetector
from .modeling_classifier import PreferenceClassifier
from .resolve import resolve_encoder

HEURISTIC = "heuristic"


def default_classifier_path() -> str:
    """The folder of the classifier that ships with the package."""
    return str(files("pref_lstm") / "default_classifier")


def load_classifier(name: str | None = None, encoder: Any = None) -> PreferenceClassifier:
    """
    The classifier called `name`, by default the shipped one.

    Args:
        name (`str`, *optional*): Its folder or hub id.
        encoder ([`~transformers.PreTrainedModel`], *optional*): Its encoder where that is loaded already.
    """
    model: PreferenceClassifier = PreferenceClassifier.from_pretrained(
        name or default_classifier_path(), encoder=encoder
    )
    return model


def load_detector(name: str | None = None) -> ClassifierDetector | HeuristicDetector:
    """
    The detector called `name`.

    Args:
        name (`str`, *optional*): A classifier's folder or hub id, or `"heuristic"`. Left out: the shipped default.
    """
    if name == HEURISTIC:
        return HeuristicDetector()
    model = load_classifier(name)
    tokenizer = AutoTokenizer.from_pretrained(resolve_encoder(model.config.encoder_name_or_path))
    return ClassifierDetector(model, tokenizer)
