"""Configuration of the composite model, kept in memory only: on disk there is PEFT's `adapter_config.json`."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig


class PrefLSTMConfig(PreTrainedConfig):
    """
    What [`PrefLSTMForCausalLM`] is made of.

    Args:
        text_config (`dict`, *optional*): The LM's configuration, as a dict: sharing a live object would change it.
        memory_config (`dict`, *optional*): The adapter's [`PrefMemoryConfig`], as a dict.
    """

    model_type = "pref_lstm"
    text_config: dict[str, Any] | None = None
    memory_config: dict[str, Any] | None = None
