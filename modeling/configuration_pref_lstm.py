"""Configuration of the composite model, kept in memory only: on disk there is PEFT's `adapter_config.json`."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec


class PrefLSTMConfig(PreTrainedConfig):
    """
    What [`PrefLSTMForCausalLM`] is made of.

    Args:
        text_config (`dict`, *optional*): The LM's configuration, as a dict: sharing a live object would change it.
        memory_config (`dict`, *optional*): The adapter's [`PrefMemoryConfig`], as a dict.
    """

    model_type = "pref_lstm"
    sub_configs_defaults = {"text_config": SubConfigSpec(config_class=AutoConfig, model_type="llama")}  # noqa: RUF012
    text_config: dict[str, Any] | PreTrainedConfig | None = None
    memory_config: dict[str, Any] | None = None
