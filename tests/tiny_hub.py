"""A tiny adapter and classifier as training would leave them, with the LM and the encoders they name on a fake Hub."""

from __future__ import annotations

from pathlib import Path

from fake_hub import FakeHub
from pref_lstm.modeling.modeling_classifier import PreferenceClassifier
from tiny import make_encoder, make_lm, make_model, make_tokenizer
from tiny_classifier import save_tiny_encoder, tiny_tokenizer

from pref_lstm.hub_pair import HubModel

LM, ENCODER, CLASSIFIER_ENCODER = "tester/tiny-llama", "tester/tiny-encoder", "tester/tiny-bert"
ADAPTER, CLASSIFIER = "tester/memory", "tester/memory-classifier"


def save_models(folder: Path) -> Path:
    """Write `adapter` and `classifier`, which name their LM and encoders by hub id, and `lm`, `encoder` and `bert`."""
    model = make_model()
    model.memory_config.base_model_name_or_path, model.memory_config.encoder_name_or_path = LM, ENCODER
    model.save_pretrained(folder / "adapter")
    make_lm().save_pretrained(folder / "lm")
    make_tokenizer().save_pretrained(folder / "lm")
    make_encoder().save(str(folder / "encoder"))
    classifier = PreferenceClassifier.from_encoder(
        save_tiny_encoder(folder / "bert"), num_tuned_layers=1, threshold=0.4
    )
    classifier.config.encoder_name_or_path = CLASSIFIER_ENCODER
    classifier.save_pretrained(folder / "classifier")
    tiny_tokenizer().save_pretrained(folder / "classifier")
    return folder


def fill_hub(hub: FakeHub, folder: Path) -> None:
    """Put the LM and both encoders on the Hub."""
    for repo_id, name in ((LM, "lm"), (ENCODER, "encoder"), (CLASSIFIER_ENCODER, "bert")):
        hub.add_folder(repo_id, folder / name)


def hub_pair(folder: Path) -> tuple[HubModel, HubModel]:
    """The two to publish."""
    return (
        HubModel("adapter", ADAPTER, folder / "adapter"),
        HubModel("classifier", CLASSIFIER, folder / "classifier"),
    )
