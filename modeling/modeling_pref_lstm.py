"""The composite model: a frozen LM that carries the adapter, with the encoder that feeds it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from transformers import GenerationMixin, PreTrainedModel, PreTrainedTokenizerBase

from .adapter_folder import adapter_folder
from .classifier_vectors import ClassifierVectors
from .configuration_pref_lstm import PrefLSTMConfig
from .configuration_pref_memory import PEFT_TYPE, PrefMemoryConfig
from .load_detector import load_classifier, load_detector
from .memory_state import MemoryState
from .outputs import EncodedTurn, MemoryReadout
from .peft_method import PrefMemoryModel
from .placeholder import pick_memory_token_id
from .pref_memory import PrefMemory
from .relate import relate
from .resolve import load_language_model
from .turn import Detector, Turn
from .turn_encoder import TurnEncoder

_FRAME = (" (", ")")


class PrefLSTMForCausalLM(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """
    A frozen causal LM with a preference memory.

    It is thin: the weights are those of the `PeftModel` inside, and on disk there is one format, PEFT's adapter folder,
    which `PeftModel` and `AutoPeftModelForCausalLM` open as well.

    Args:
        language_model ([`~peft.PeftModel`]): The LM with an adapter of type `PREF_MEMORY`.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): The LM's.
    """

    config_class = PrefLSTMConfig
    base_model_prefix = "language_model"

    def __init__(self, language_model: PeftModel, tokenizer: PreTrainedTokenizerBase) -> None:
        lm = language_model.get_base_model()
        adapter: PrefMemoryConfig = language_model.active_peft_config
        _check_type(adapter, "the model")
        super().__init__(PrefLSTMConfig(text_config=lm.config.to_dict(), memory_config=adapter.to_dict()))
        self.language_model = language_model
        self.tokenizer = tokenizer
        self.generation_config = lm.generation_config
        self._encoder: TurnEncoder | None = None
        self._detector: Detector | None = None
        self._token: str | bool | None = None

    @classmethod
    def from_language_model(
        cls,
        lm: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        config: PrefMemoryConfig | None = None,
    ) -> PrefLSTMForCausalLM:
        """
        Put a fresh, untrained memory on a loaded LM.

        Args:
            lm: The LM; its parameters are frozen.
            tokenizer: Its tokenizer.
            config ([`PrefMemoryConfig`], *optional*): `memory_token_id` and `frame_token_ids` are filled in if unset.
        """
        config = PrefMemoryConfig() if config is None else config
        if config.memory_token_id is None:
            config.memory_token_id = pick_memory_token_id(tokenizer, lm.get_input_embeddings().weight.shape[0])
        if config.frame_token_ids is None and config.cell == "slots":
            words = [i for part in _FRAME for i in tokenizer(part, add_special_tokens=False)["input_ids"]]
            if len(words) == config.num_frame_tokens:
                config.frame_token_ids = words
        # Known only of an LM that came from the Hub.
        config.revision = config.revision or getattr(lm.config, "_commit_hash", None)
        return cls(get_peft_model(lm, config), tokenizer)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        name: str | Path,
        *,
        lm: PreTrainedModel | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        is_trainable: bool = False,
        **lm_kwargs: Any,
    ) -> PrefLSTMForCausalLM:
        """
        Load an adapter, and the LM that it names. Its encoder and detector are loaded when they are first needed.

        Args:
            name (`str`): Folder or hub id of the adapter.
            lm, tokenizer (*optional*): An LM that is loaded already, with its tokenizer.
            revision (`str`, *optional*): Of the adapter. The LM's and the detector's stand in its configuration.
            token (`str` or `bool`, *optional*): For private repositories; by default the one that is logged in.
            is_trainable (`bool`, defaults to `False`): Whether the adapter is to be trained further.
            lm_kwargs: For [`load_language_model`] (`dtype`, `device_map`, …).

        Raises:
            ValueError: if `name` is no preference memory adapter, or only one of `lm` and `tokenizer` is given.
            FileNotFoundError, PermissionError: as [`adapter_folder`].
        """
        if (lm is None) != (tokenizer is None):
            raise ValueError("`lm` and `tokenizer` must be given together, got only one of them.")
        folder = adapter_folder(str(name), revision, token)
        try:
            config = PeftConfig.from_pretrained(str(folder))
        except json.JSONDecodeError as error:
            raise ValueError(f"'{name}' must hold a JSON `adapter_config.json`, but it is damaged ({error}).") from None
        _check_type(config, f"'{name}'")
        if lm is None or tokenizer is None:
            lm_kwargs.update({"token": token} if token is not None else {})
            lm, tokenizer = load_language_model(
                config.base_model_name_or_path, **{"revision": config.revision, **lm_kwargs}
            )
        try:
            model: PeftModel = PeftModel.from_pretrained(lm, str(folder), is_trainable=is_trainable)
        except SafetensorError as error:
            raise ValueError(
                f"'{name}' must hold a whole `adapter_model.safetensors`, but it is damaged ({error}). Fetch it again."
            ) from None
        out = cls(model, tokenizer)
        out._token = token
        out.train(is_trainable)
        return out

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:  # type: ignore[override]
        """Write the adapter folder (`adapter_config.json`, `adapter_model.safetensors`, `README.md`), no LM weights."""
        kwargs.pop("state_dict", None)  # the Trainer passes the whole model's
        self.language_model.save_pretrained(str(save_directory), save_embedding_layers=False, **kwargs)

    def push_to_hub(self, repo_id: str, *, private: bool | None = True, **kwargs: Any) -> str:
        """As `PushToHubMixin.push_to_hub`, but private by default. `pref-lstm publish` adds a card."""
        url: str = super().push_to_hub(repo_id, private=private, **kwargs)
        return url

    @property
    def memory_config(self) -> PrefMemoryConfig:
        config: PrefMemoryConfig = self.language_model.active_peft_config
        return config

    @property
    def tuner(self) -> PrefMemoryModel:
        tuner: PrefMemoryModel = self.language_model.base_model
        return tuner

    @property
    def memory(self) -> PrefMemory:
        return self.tuner.memory

    @property
    def encoder(self) -> TurnEncoder:
        """The turn encoder that the adapter names, loaded when it is first needed."""
        if self._encoder is None:
            config = self.memory_config
            name = config.encoder_name_or_path
            self._encoder = TurnEncoder.from_pretrained(name, self.tokenizer, self.memory.key_encoder)
            if config.classifier_vector_size:
                classifier = load_classifier(
                    config.classifier_name_or_path, config.classifier_revision, self._token, self._encoder.backbone
                )
                self._encoder.key_encoder = ClassifierVectors(classifier, config.classifier_vector_size, name)
        return self._encoder

    @property
    def detector(self) -> Detector:
        """The detector that the adapter names, at the revision it names, or else the shipped one."""
        if self._detector is None:
            config = self.memory_config
            name, revision = config.classifier_name_or_path, config.classifier_revision
            self._detector = load_detector(name, revision, self._token) if name else load_detector()
        return self._detector

    def initial_state(self, batch_size: int = 1) -> MemoryState:
        """An empty memory for each of `batch_size` users."""
        return self.memory.initial_state(batch_size)

    @torch.no_grad()
    def write(self, turns: Sequence[Turn], state: MemoryState) -> MemoryState:
        """Take one turn per row into the memory and return the new state; `state` itself stays as it was."""
        return self.write_encoded(self.encoder.encode(turns), state)

    @torch.no_grad()
    def write_encoded(self, turns: EncodedTurn, state: MemoryState, mask: torch.Tensor | None = None) -> MemoryState:
        """
        [`~PrefLSTMForCausalLM.write`], of turns that are encoded already. A row whose `mask (batch,)` is 0 stays as it
        is.
        """
        memory, turns, state = self.memory, turns.to(self.device), state.to(self.device)
        relations = None if memory.relation_encoder is None else relate(self.encoder, memory, turns, state)
        return memory.update(turns, state, self.tuner.embed, mask, relations)

    @torch.no_grad()
    def read(self, state: MemoryState, texts: Sequence[str] | None = None) -> MemoryReadout:
        """Read the memory for each row's current message, or unconditionally."""
        query = None if texts is None else self.encoder.encode_query(texts).to(self.device)
        return self.memory.read(state.to(self.device), self.tuner.embed, query)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The LM's forward, with the arguments of [`MemoryInputs`]."""
        return self.language_model(*args, **kwargs)

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """The LM's `generate`, with the arguments of [`MemoryInputs`]."""
        return self.language_model.generate(*args, **kwargs)

    def disable_memory(self) -> AbstractContextManager[None]:
        """Within this context the model is the bare LM, exactly."""
        context: AbstractContextManager[None] = self.language_model.disable_adapter()
        return context

    def get_input_embeddings(self) -> torch.nn.Module:
        embeddings: torch.nn.Module = self.language_model.get_base_model().get_input_embeddings()
        return embeddings


def _check_type(config: PeftConfig, where: str) -> None:
    if config.peft_type != PEFT_TYPE:
        raise ValueError(
            f"Expected an adapter of type '{PEFT_TYPE}', got '{getattr(config.peft_type, 'value', config.peft_type)}' "
            f"in {where}. Use it with `peft.PeftModel` instead."
        )
