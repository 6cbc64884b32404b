"""The turn encoder with low-rank changes, reading two turns as a pair: does one repeat or reverse the other?"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from .fused_backbone import FusedBackbone, can_fuse, weights_key

# The linear parts of a BERT-like layer: where their weights lie, and how many times the width goes in and comes out.
_PARTS = {
    "query": ("attention.self.query", 1, 1),
    "key": ("attention.self.key", 1, 1),
    "value": ("attention.self.value", 1, 1),
    "attention": ("attention.output.dense", 1, 1),
    "intermediate": ("intermediate.dense", 1, 4),
    "output": ("output.dense", 4, 1),
}
_SCALE = 2.0
_HEAD_SIZE = 64


class RelationEncoder(nn.Module):
    """
    A cross-encoder over pairs of turns, on the weights of the frozen turn encoder.

    Every linear weight `W` of the encoder's last layers acts as `W + 2 B A` (LoRA, arXiv 2106.09685, eq. 3). These
    numbers belong to the adapter and the encoder to all that read it, in other threads too, so it is not wrapped, as
    peft's LoRA would: what is read with is a copy that shares all other weights.

    Args:
        width (`int`): Hidden size of the encoder.
        num_layers (`int`): How many of its last layers are changed.
        rank (`int`): Of the changes.
    """

    def __init__(self, width: int, num_layers: int, rank: int) -> None:
        super().__init__()
        self.num_layers = num_layers
        self.down = nn.ParameterDict(
            {name: nn.Parameter(torch.empty(num_layers, rank, i * width)) for name, (_, i, _) in _PARTS.items()}
        )
        self.up = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(num_layers, o * width, rank)) for name, (_, _, o) in _PARTS.items()}
        )
        for down in self.down.values():
            nn.init.normal_(down, std=down.shape[-1] ** -0.5)
        self.head = nn.Sequential(nn.Linear(5 * width, _HEAD_SIZE), nn.GELU(), nn.Linear(_HEAD_SIZE, 3))
        self._changed: tuple[object, nn.Module | None] = (None, None)

    def forward(
        self,
        backbone: nn.Module,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor,
    ) -> torch.Tensor:
        """
        Args:
            backbone (`nn.Module`): The encoder, BERT-like.
            input_ids (`torch.Tensor` of shape `(batch, length)`): Pairs, `[CLS] first [SEP] second [SEP]`.
            attention_mask, token_type_ids (`torch.Tensor` of shape `(batch, length)`): As the tokenizer gives them.

        Returns:
            `torch.Tensor` of shape `(batch, 3)`, float32: logits over same, reversed, different.

        Raises:
            ValueError: if the encoder's layers have another form or size.
        """
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        if torch.is_grad_enabled():
            states = functional_call(backbone, self._weights(backbone), kwargs=inputs).last_hidden_state
        else:
            changed = self._copy(backbone)
            fused = isinstance(changed, FusedBackbone)
            states = changed(**inputs)[-1] if fused else changed(**inputs).last_hidden_state
        second = (attention_mask * token_type_ids).unsqueeze(-1)
        first = attention_mask.unsqueeze(-1) - second
        u, v = ((states * part).sum(1) / part.sum(1) for part in (first, second))
        features = torch.cat([states[:, 0], u, v, (u - v).abs(), u * v], dim=-1)
        logits: torch.Tensor = self.head(features.to(self.down["query"].device, self.down["query"].dtype))
        return logits.float()

    def _copy(self, backbone: nn.Module) -> nn.Module:
        """The encoder with the changed weights, made anew only where one of the numbers behind them is another."""
        shared = [*backbone.parameters(), *backbone.buffers()]
        numbers = [*shared, *self.down.values(), *self.up.values()]
        key = weights_key(numbers)
        made_from, changed = self._changed
        if changed is None or made_from != key:
            changed = copy.deepcopy(backbone, {id(x): x for x in shared})
            with torch.autocast(shared[0].device.type, enabled=False):  # it is kept for calls of other precisions
                weights = self._weights(backbone)
            for name, weight in weights.items():
                part, _, kind = name.rpartition(".")
                setattr(changed.get_submodule(part), kind, nn.Parameter(weight, requires_grad=False))
            changed = FusedBackbone(changed) if can_fuse(changed) else changed
            self._changed = (key, changed)
        return changed

    def _weights(self, backbone: nn.Module) -> dict[str, torch.Tensor]:
        layers: Any = getattr(getattr(backbone, "encoder", None), "layer", ())
        weights, first = {}, len(layers) - self.num_layers
        try:
            for part, (path, _, _) in _PARTS.items():
                for i, change in enumerate(_SCALE * self.up[part] @ self.down[part]):
                    name = f"encoder.layer.{first + i}.{path}.weight"
                    weight = backbone.get_parameter(name)
                    weights[name] = weight + change.to(weight.device, weight.dtype)
        except (AttributeError, RuntimeError) as error:
            raise ValueError(
                f"`num_relation_layers` = {self.num_layers} needs a BERT-like encoder with as many layers in "
                f"`encoder.layer`, as wide as the adapter's, got {type(backbone).__name__} with {len(layers)} "
                f"({error}). Change it, or choose another encoder."
            ) from None
        return weights
