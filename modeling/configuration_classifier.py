"""Configuration of [`PreferenceClassifier`]."""

from __future__ import annotations

import difflib
from dataclasses import fields
from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

LABELS = ("no_preference", "preference")


@strict
class PreferenceClassifierConfig(PreTrainedConfig):
    r"""
    Configuration of a [`PreferenceClassifier`]: a frozen encoder, and the head that reads its hidden states.

    Args:
        encoder_config (`dict` or [`~transformers.PreTrainedConfig`], *optional*):
            Configuration of the encoder. Left out: BERT's defaults.
        encoder_name_or_path (`str`, *optional*):
            Where the encoder's weights come from: a hub id or a folder. They are never saved with the classifier.
        num_tuned_layers (`int`, *optional*, defaults to 0):
            How many of the encoder's last layers the head has its own, trainable copies of. The encoder itself stays
            as it is, so that one forward pass can serve others too.
        hidden_state_indices (`list[int]`, *optional*, defaults to `[-1]`):
            Which of the encoder's hidden states (0 = embeddings, -1 = last layer) enter the learned mix, beside the
            tuned layers' output.
        pooling (`str`, *optional*, defaults to `"attention"`):
            `"cls"` takes the first token, `"mean"` the mean over the user's tokens, `"attention"` learned attention
            pools over the user's tokens beside their maximum.
        num_pools (`int`, *optional*, defaults to 4):
            Number of attention pools.
        head_size (`int`, *optional*, defaults to 256):
            Width of the hidden layer of the two-layer MLP.
        dropout (`float`, *optional*, defaults to 0.1):
            Dropout on the mixed states and inside the MLP.
        threshold (`float`, *optional*, defaults to 0.5):
            Probability from which on a turn counts as a preference, calibrated on validation data.
        max_length (`int`, *optional*, defaults to 128):
            Most tokens of the user's message that are read.

    Raises:
        TypeError: on a keyword that looks like a misspelt field.
        ValueError: if a value is outside its range, or `num_tuned_layers` exceeds the encoder's layers.
    """

    model_type = "preference_classifier"
    sub_configs_defaults: ClassVar = {"encoder_config": SubConfigSpec(config_class=AutoConfig, model_type="bert")}

    encoder_config: dict[str, Any] | PreTrainedConfig | None = None
    encoder_name_or_path: str | None = None
    num_tuned_layers: int = 0
    hidden_state_indices: list[int] | tuple[int, ...] = (-1,)
    pooling: Literal["cls", "mean", "attention"] = "attention"
    num_pools: int = 4
    head_size: int = 256
    dropout: float = 0.1
    threshold: float = 0.5
    max_length: int = 128

    def __post_init__(self, **kwargs: Any) -> None:
        known = {field.name for field in fields(self)}
        for name in kwargs:
            # Keys that resemble no field pass: transformers and newer versions write some of their own.
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
            if near and name not in known:
                raise TypeError(f"`PreferenceClassifierConfig` has no field `{name}`. Did you mean `{near[0]}`?")
        self.id2label = dict(enumerate(LABELS))
        self.label2id = {label: index for index, label in enumerate(LABELS)}
        super().__post_init__(**kwargs)

    def validate_ranges(self) -> None:
        """Checks each number against its range."""
        for name, low, high in (
            ("threshold", 0.0, 1.0),
            ("dropout", 0.0, 0.9),
            ("max_length", 4, 508),
            ("num_pools", 1, 64),
            ("head_size", 1, 8192),
            ("num_tuned_layers", 0, 64),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"`{name}` must lie between {low} and {high}, got {value}. Choose a value in between.")
        if not self.hidden_state_indices and not self.num_tuned_layers:
            raise ValueError(
                "The head has nothing to read: `hidden_state_indices` is empty and `num_tuned_layers` is 0. "
                "Name at least one hidden state or tune at least one layer."
            )
