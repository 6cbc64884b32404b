"""The turn encoder's last layers, tuned to tell which stored turn a question is about."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .fused_backbone import layer_weights, padding_mask
from .outputs import EncoderPass


class KeyEncoder(nn.Module):
    """
    Makes the vectors by which stored turns are found: tuned copies of the last layers of a frozen BERT-like encoder.

    The layers below stay frozen, so one pass of them serves these layers and a classifier. Turns and questions go
    through the same layers (bi-encoder, Sentence-BERT, arXiv 1908.10084).

    Args:
        width (`int`): Hidden size of the encoder.
        num_layers (`int`): How many of its last layers are replaced.
        num_heads (`int`): Attention heads of each.
    """

    def __init__(self, width: int, num_layers: int, num_heads: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            width, num_heads, 4 * width, activation="gelu", layer_norm_eps=1e-12, batch_first=True
        )
        self.layers = nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)

    def forward(self, passed: EncoderPass) -> torch.Tensor:
        """The vectors `(batch, width)`, float32 and of length 1: the mean over each user's tokens."""
        device = next(self.parameters()).device
        states = passed.hidden_states[passed.num_layers - self.layers.num_layers].to(device, torch.float32)
        states = self.layers(states, src_key_padding_mask=padding_mask(passed.attention_mask.to(device)))
        user = (passed.attention_mask * passed.token_type_ids).to(device)[..., None]
        return nn.functional.normalize((states * user).sum(1) / user.sum(1).clamp_min(1), dim=-1)

    @torch.no_grad()
    def copy_last_layers(self, backbone: nn.Module) -> None:
        """
        Start from the last layers of a BERT-like encoder.

        Raises:
            ValueError: if its layers have another form or size.
        """
        layers: Any = getattr(getattr(backbone, "encoder", None), "layer", ())
        own: Any = self.layers.layers
        try:
            for mine, theirs in zip(own, layers[len(layers) - len(own) :], strict=True):
                mine.load_state_dict(layer_weights(theirs))
                num_heads = theirs.attention.self.num_attention_heads
                if num_heads != mine.self_attn.num_heads:
                    raise ValueError(f"{num_heads} attention heads")
        except (AttributeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"`num_key_layers` = {len(own)} with `num_key_heads` = {own[0].self_attn.num_heads} needs a BERT-like "
                f"encoder with as many layers in `encoder.layer` and as many heads, got {type(backbone).__name__} "
                f"({error}). Change the two, or choose another encoder."
            ) from None
