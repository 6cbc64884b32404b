"""The layers of a BERT in PyTorch's fused kernels: the same numbers in less time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from transformers import BertConfig, BertModel
from transformers.activations import ACT2FN


class FusedBackbone(nn.Module):
    """
    A frozen `BertModel` whose layers run as `nn.TransformerEncoderLayer`, for inference.

    Weights are shared, but for the projections to queries, keys and values, which are one matrix here: what changes
    them in the model, or moves it, does not reach this one.

    Args:
        backbone ([`~transformers.BertModel`]): In evaluation mode.
    """

    def __init__(self, backbone: BertModel) -> None:
        super().__init__()
        self.embeddings = backbone.embeddings
        self.layers = nn.ModuleList(_fused(layer, backbone.config) for layer in backbone.encoder.layer)
        self.layers.requires_grad_(False).eval()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor,
        num_layers: int | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """
        Args:
            input_ids, attention_mask, token_type_ids (`torch.Tensor` of shape `(batch, length)`): As for the model.
            num_layers (`int`, *optional*): Stop after so many layers.

        Returns:
            `tuple[torch.Tensor, …]`: Hidden states `(batch, length, hidden)`, the embeddings' first, as the model gives
            them; what stands where the mask is 0 means nothing.
        """
        state = self.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)
        states, mask = [state], padding_mask(attention_mask)
        for layer in self.layers[:num_layers]:
            state = layer(state, src_key_padding_mask=mask)
            states.append(state)
        return tuple(states)


def can_fuse(backbone: nn.Module) -> bool:
    """Whether an encoder has the form that the kernels compute: a plain BERT on a CPU, nothing around its parts."""
    if type(backbone) is not BertModel:
        return False
    config: Any = backbone.config
    encoder: Any = backbone.encoder
    known = (nn.Linear, nn.LayerNorm, nn.Dropout, type(ACT2FN[config.hidden_act]))
    plain = all(type(m) in known for m in encoder.modules() if not list(m.children()))
    on_cpu = all(p.device.type == "cpu" for p in backbone.parameters())
    return plain and on_cpu and not config.is_decoder and config.hidden_act in ("gelu", "relu")


def weights_key(tensors: Iterable[torch.Tensor]) -> list[tuple[int, torch.dtype, int | None]]:
    """Equal as long as all numbers are where they were, and as they were."""
    return [(x.data_ptr(), x.dtype, None if x.is_inference() else x._version) for x in tensors]


def padding_mask(attention_mask: torch.Tensor) -> torch.Tensor | None:
    """Where nothing stands, for PyTorch's layers: none without padding, since the kernels are faster so."""
    padding = attention_mask == 0
    return padding if bool(padding.any()) else None


def layer_weights(layer: Any) -> dict[str, torch.Tensor]:
    """The weights of a BERT-like layer under the names of `nn.TransformerEncoderLayer`."""
    attention = layer.attention.self
    parts = (attention.query, attention.key, attention.value)
    return {
        "self_attn.in_proj_weight": torch.cat([part.weight for part in parts]),
        "self_attn.in_proj_bias": torch.cat([part.bias for part in parts]),
        **_renamed(layer.attention.output.dense, "self_attn.out_proj"),
        **_renamed(layer.intermediate.dense, "linear1"),
        **_renamed(layer.output.dense, "linear2"),
        **_renamed(layer.attention.output.LayerNorm, "norm1"),
        **_renamed(layer.output.LayerNorm, "norm2"),
    }


def _fused(layer: nn.Module, config: BertConfig) -> nn.Module:
    with torch.device("meta"):
        fused = nn.TransformerEncoderLayer(
            config.hidden_size,
            config.num_attention_heads,
            config.intermediate_size,
            activation=config.hidden_act,
            layer_norm_eps=config.layer_norm_eps,
            batch_first=True,
        )
    fused.load_state_dict(layer_weights(layer), assign=True)
    return fused


def _renamed(module: nn.Module, name: str) -> dict[str, torch.Tensor]:
    return {f"{name}.{key}": value for key, value in module.state_dict().items()}
