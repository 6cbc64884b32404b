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


def load_classifier(
    name: str | None = None, revision: str | None = None, token: str | bool | None = None, encoder: Any = None
) -> PreferenceClassifier:
    """
    The classifier called `name`, by default the shipped one.

    Args:
        name, revision, token: As for [`load_detector`].
        encoder ([`~transformers.PreTrainedModel`], *optional*): Its encoder where that is loaded already.
    """
    model: PreferenceClassifier = PreferenceClassifier.from_pretrained(
        name or default_classifier_path(), revision=revision, token=token, encoder=encoder
    )
    return model


def load_detector(
    name: str | None = None, revision: str | None = None, token: str | bool | None = None
) -> ClassifierDetector | HeuristicDetector:
    """
    The detector called `name`.

    Args:
        name (`str`, *optional*): A classifier's folder or hub id, or `"heuristic"`. Left out: the shipped default.
        revision (`str`, *optional*): Of the classifier's repository.
        token (`str` or `bool`, *optional*): For a private repository; by default the one that is logged in.
    """
    if name == HEURISTIC:
        return HeuristicDetector()
    model = load_classifier(name, revision, token)
    tokenizer = AutoTokenizer.from_pretrained(resolve_encoder(model.config.encoder_name_or_path), token=token)
    return ClassifierDetector(model, tokenizer)
