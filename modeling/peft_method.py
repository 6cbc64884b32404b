"""The memory as a PEFT method: one tuner layer around the LM's input embedding, registered without touching PEFT."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from peft.mapping import (
    PEFT_TYPE_TO_CONFIG_MAPPING,
    PEFT_TYPE_TO_PREFIX_MAPPING,
    PEFT_TYPE_TO_TUNER_MAPPING,
)
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import nn
from transformers import LogitsProcessor, LogitsProcessorList

from .configuration_pref_memory import PEFT_TYPE, PrefMemoryConfig
from .memory_call import MemoryCall, MemoryInputs
from .pref_memory import PrefMemory

PREFIX = "pref_memory_"
# Soft tokens of the call in progress. Per thread and task, so that two requests on one model can't mix users.
_SOFT_TOKENS: ContextVar[torch.Tensor | None] = ContextVar("pref_memory_soft_tokens", default=None)


class PrefMemoryLayer(nn.Module, BaseTunerLayer):
    """Wraps the LM's input embedding: placeholder ids become the soft tokens of the call, all others stay."""

    adapter_layer_names = ("pref_memory_cell",)
    other_param_names = ("pref_memory_config",)

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.pref_memory_cell = nn.ModuleDict()
        self.pref_memory_config: dict[str, PrefMemoryConfig] = {}
        self._disable_adapters = False
        self.merged_adapters: list[str] = []

    def update_layer(self, adapter_name: str, config: PrefMemoryConfig, inference_mode: bool = False) -> None:
        """Add one adapter's memory, freshly initialised from the LM's own embeddings."""
        weight: Any = self.weight
        rows, hidden_size = weight.shape[0], weight.shape[1]
        if config.memory_token_id is not None and not 0 <= config.memory_token_id < rows:
            raise ValueError(
                f"`memory_token_id` must be an id inside the LM's embedding of {rows} rows, got "
                f"{config.memory_token_id}. Pick one with `pick_memory_token_id(tokenizer, vocab_size)`."
            )
        if any(not 0 <= index < rows for index in config.frame_token_ids or ()):
            raise ValueError(
                f"`frame_token_ids` must be ids inside the LM's embedding of {rows} rows, got "
                f"{config.frame_token_ids}. Take them from the LM's own tokenizer."
            )
        memory = PrefMemory(config, hidden_size, rows)
        config.hidden_size = hidden_size
        ids = config.frame_token_ids or list(range(0, rows, max(1, rows // 1000)))
        with torch.no_grad():
            words = self.embed(torch.tensor(ids)).float()
        memory.cell.reset_parameters(words)
        self.pref_memory_config[adapter_name] = config
        self.pref_memory_cell[adapter_name] = memory
        layer: Any = self  # PEFT's mixin carries no types
        layer._move_adapter_to_device_of_base_layer(adapter_name)
        layer.set_adapter(layer.active_adapters, inference_mode=inference_mode)

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """The LM's own embedding of `(…)` ids, `(…, hidden)`."""
        base: Any = self.base_layer
        out: torch.Tensor = base(ids.to(base.weight.device))
        return out

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        base: Any = self.base_layer
        out: torch.Tensor = base(input_ids)
        soft = _SOFT_TOKENS.get()
        if self.disable_adapters or soft is None:
            return out
        adapters: Any = self.active_adapters
        active: str = adapters[0]
        is_memory = torch.eq(input_ids, int(self.pref_memory_config[active].memory_token_id or 0))
        soft = soft.to(out.device, out.dtype)
        if (copies := out.shape[0] // soft.shape[0]) > 1:  # beams, returned sequences
            soft = soft.repeat_interleave(copies, dim=0)
        # No control flow on data: it compiles, and a decoding step without placeholders passes through.
        index = (is_memory.long().cumsum(1) - 1).clamp(0, soft.shape[1] - 1)
        soft = soft.gather(1, index[..., None].expand(-1, -1, soft.shape[-1]))
        return torch.where(is_memory[..., None], soft, out)


class _ForbidToken(LogitsProcessor):  # type: ignore[misc]
    """Not transformers' `SuppressTokensLogitsProcessor`: that one would replace the caller's own `suppress_tokens`."""

    def __init__(self, token_id: int) -> None:
        self.token_id = token_id

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores.index_fill(-1, torch.tensor(self.token_id, device=scores.device), float("-inf"))


class PrefMemoryModel(BaseTuner):
    """
    PEFT tuner of type `PREF_MEMORY`.

    `forward` and `generate` take the LM's arguments and those of [`MemoryInputs`]. Parameters of the LM are never
    changed.
    """

    prefix = PREFIX
    tuner_layer_cls = PrefMemoryLayer
    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012 - PEFT's own declaration

    def _prepare_adapter_config(self, peft_config: PrefMemoryConfig, model_config: dict[str, Any]) -> PrefMemoryConfig:
        if peft_config.target_modules is None:
            embedding = self.model.get_input_embeddings()
            name = next(n for n, m in self.model.named_modules() if m is embedding)
            # The full dotted name keeps `save_embedding_layers="auto"` from saving the LM's embedding matrix.
            peft_config.target_modules = {name}
        return peft_config

    def _create_and_replace(
        self,
        peft_config: PrefMemoryConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        **kwargs: Any,
    ) -> None:
        if not isinstance(target, PrefMemoryLayer):
            layer = PrefMemoryLayer(target)
            self._replace_module(parent, target_name, layer, target)
            target = layer
        target.update_layer(adapter_name, peft_config, inference_mode=peft_config.inference_mode)
        if adapter_name not in self.active_adapters:
            target.pref_memory_cell[adapter_name].requires_grad_(False)

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        # The name sits in the middle of the key, because a whole module is stored per adapter.
        return key.replace(f"pref_memory_cell.{adapter_name}.", "pref_memory_cell.", 1)

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls, model: nn.Module, config: PrefMemoryConfig, adapter_name: str, state_dict: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        remapped: dict[str, torch.Tensor] = super()._remap_adapter_state_dict_for_load(
            model, config, adapter_name, state_dict
        )
        inside = f"pref_memory_cell.{adapter_name}."
        expected = {key: tensor.shape for key, tensor in model.state_dict().items() if inside in key}
        missing, foreign = sorted(expected.keys() - remapped.keys()), sorted(remapped.keys() - expected.keys())
        if missing or foreign:
            # PEFT would warn and go on with fresh weights: a memory that looks loaded and knows nothing.
            raise ValueError(
                f"The adapter file must hold exactly the {len(expected)} tensors of a '{config.cell}' memory: "
                f"{len(missing)} are missing (first: {missing[:1]}), {len(foreign)} are foreign (first: "
                f"{foreign[:1]}). Was it saved by another version or cell, or for another LM?"
            )
        for key, shape in expected.items():
            if remapped[key].shape != shape:
                raise ValueError(
                    f"The adapter file's '{key}' must have shape {tuple(shape)}, got {tuple(remapped[key].shape)}. "
                    "Do `adapter_config.json` and `adapter_model.safetensors` belong together?"
                )
        return remapped

    def _check_tied_modules(self, model: nn.Module, peft_config: PrefMemoryConfig) -> None:
        """PEFT warns when a tied embedding is targeted; its weight is never touched, so there is nothing to tie."""

    def _check_merge_allowed(self) -> None:
        raise NotImplementedError(
            "A preference memory depends on its input and can't be merged into the LM. "
            "Use `unload()` to get the bare LM."
        )

    @property
    def layer(self) -> PrefMemoryLayer:
        layer: PrefMemoryLayer = self.model.get_input_embeddings()
        return layer

    @property
    def memory(self) -> PrefMemory:
        """The active adapter's memory."""
        memory: PrefMemory = self.layer.pref_memory_cell[self.active_adapters[0]]  # type: ignore[assignment]
        return memory

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """The LM's own input embedding, `(…)` ids to `(…, hidden)` vectors."""
        with torch.no_grad():
            return self.layer.embed(ids)

    @contextmanager
    def _call(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], generates: bool = False
    ) -> Iterator[tuple[dict[str, Any], MemoryCall]]:
        if args:
            kwargs["input_ids"] = args[0]
        if len(args) > 1:
            raise TypeError(f"Expected at most one positional argument, `input_ids`, got {len(args)}. Name the others.")
        if "inputs" in kwargs:
            kwargs["input_ids"] = kwargs.pop("inputs")
        inputs = MemoryInputs.pop_from(kwargs)
        config: PrefMemoryConfig = self.peft_config[self.active_adapters[0]]
        readout = None if self.layer.disable_adapters else inputs.read(self.memory, self.embed)
        call = MemoryCall.prepare(kwargs, readout, config, bool(self.layer.disable_adapters), generates)
        token = _SOFT_TOKENS.set(call.soft_tokens)
        try:
            yield call.kwargs, call
        finally:
            _SOFT_TOKENS.reset(token)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if (objective := kwargs.pop("memory_objective", None)) is not None:
            # A training step of several parts runs as one forward, so that DDP and its like see one.
            return objective(self)
        with self._call(args, kwargs) as (prepared, call):
            takes_positions = "position_ids" in inspect.signature(self.model.forward).parameters
            return call.restore_logits(self.model(**call.with_positions(prepared) if takes_positions else prepared))

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        with self._call(args, kwargs, generates=True) as (prepared, call):
            if call.soft_tokens is not None:
                if prepared.get("prefill_chunk_size") is not None:
                    raise ValueError(
                        "`prefill_chunk_size` must be left out with a memory: a chunk would cut a block of soft tokens."
                    )
                # The LM must not write the placeholder: the next step would take it for a soft token.
                forbid = _ForbidToken(self.peft_config[self.active_adapters[0]].memory_token_id)
                prepared["logits_processor"] = LogitsProcessorList([*(prepared.get("logits_processor") or []), forbid])
            return call.restore_sequences(self.model.generate(**prepared))


def register() -> None:
    """Make PEFT know `PREF_MEMORY`. Importing `pref_lstm` does it; a second time changes nothing."""
    PEFT_TYPE_TO_CONFIG_MAPPING[PEFT_TYPE] = PrefMemoryConfig
    PEFT_TYPE_TO_TUNER_MAPPING[PEFT_TYPE] = PrefMemoryModel
    PEFT_TYPE_TO_PREFIX_MAPPING[PEFT_TYPE] = PREFIX


register()
