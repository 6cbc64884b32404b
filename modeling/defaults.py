"""The shipped defaults: which adapter and which detector a command uses when none is named."""

from __future__ import annotations

from importlib.resources import as_file, files

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .heuristic_detector import HeuristicDetector
from .load_detector import load_detector
from .modeling_pref_lstm import PrefLSTMForCausalLM
from .resolve import load_language_model
from .turn import Detector

ADAPTER_FOLDER = "default_adapter"
CLASSIFIER_FOLDER = "default_classifier"


def load_default_model(
    name: str | None = None,
    lm: PreTrainedModel | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    revision: str | None = None,
) -> tuple[PrefLSTMForCausalLM, bool]:
    """
    Load an adapter, by default the one that ships with the package.

    Args:
        name (`str`, *optional*): Folder or hub id of an adapter.
        lm, tokenizer (*optional*): Loaded already.
        revision (`str`, *optional*): Of the adapter's repository.

    Returns:
        The model, and whether its memory is trained: a checkout without the shipped adapter gives a fresh one.
    """
    if name is not None:
        return PrefLSTMForCausalLM.from_pretrained(name, revision=revision, lm=lm, tokenizer=tokenizer), True
    shipped = files("pref_lstm") / ADAPTER_FOLDER
    if shipped.is_dir():
        with as_file(shipped) as folder:
            return PrefLSTMForCausalLM.from_pretrained(folder, lm=lm, tokenizer=tokenizer), True
    if lm is None or tokenizer is None:
        lm, tokenizer = load_language_model()
    return PrefLSTMForCausalLM.from_language_model(lm, tokenizer).eval(), False


def load_default_detector() -> Detector:
    """The shipped classifier; a checkout without it falls back to the rules."""
    return load_detector() if (files("pref_lstm") / CLASSIFIER_FOLDER).is_dir() else HeuristicDetector()
