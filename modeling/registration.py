"""Makes the package's classes known to transformers' Auto classes."""

from __future__ import annotations

from transformers import AutoConfig, AutoModelForSequenceClassification

from .configuration_classifier import PreferenceClassifierConfig
from .modeling_classifier import PreferenceClassifier


def register_classifier() -> None:
    """Registers [`PreferenceClassifier`] for `AutoConfig`, `AutoModelForSequenceClassification` and pipelines."""
    AutoConfig.register(PreferenceClassifierConfig.model_type, PreferenceClassifierConfig, exist_ok=True)
    AutoModelForSequenceClassification.register(PreferenceClassifierConfig, PreferenceClassifier, exist_ok=True)
