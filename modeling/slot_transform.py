"""What a slot's words become on their way into the LM."""

from __future__ import annotations

import torch
from torch import nn

from .configuration_pref_memory import TRANSFORM_HEADS, PrefMemoryConfig

_NUM_LAYERS = 2


class SlotTransform(nn.Module):
    """
    Makes the soft tokens of one read: frame tokens and spoken words, and what all of the slot's words add to them.

    A narrow transformer encoder lets the frame, the slot's words and its key see each other. To each soft token are
    added what it made of its place there, and the slot's words themselves, weighted by attention from that place: so a
    few soft tokens can carry more words than there are of them.

    Args:
        config ([`PrefMemoryConfig`]): `transform_rank` is the encoder's width.
        hidden_size (`int`): Width of the LM's input embedding.
    """

    def __init__(self, config: PrefMemoryConfig, hidden_size: int) -> None:
        super().__init__()
        rank = config.transform_rank
        self.hidden_size, self.num_content_tokens = hidden_size, config.num_content_tokens
        self.down = nn.Linear(hidden_size, rank)
        self.key_down = nn.Linear(config.encoder_hidden_size, rank)
        self.places = nn.Parameter(torch.empty(config.num_frame_tokens + int(config.slot_length or 0), rank))
        self.spoken = nn.Parameter(torch.empty(rank))
        layer = nn.TransformerEncoderLayer(
            rank, TRANSFORM_HEADS, 4 * rank, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, _NUM_LAYERS, enable_nested_tensor=False)
        self.up = nn.Linear(rank, hidden_size)
        self.word_query = nn.Linear(rank, rank)
        self.word_key = nn.Linear(rank, rank)
        self.word_gate = nn.Linear(rank, 1)

    def reset_parameters(self) -> None:
        """Untrained, it changes next to nothing."""
        for parameter in (self.places, self.spoken):
            nn.init.normal_(parameter, std=0.02)
        # Small, not zero: zero would keep the layers before it still in the first step.
        for last in (self.up, self.word_gate):
            nn.init.normal_(last.weight, std=1e-3)
            nn.init.zeros_(last.bias)

    def forward(
        self,
        words: torch.Tensor,
        mask: torch.Tensor,
        spoken: torch.Tensor,
        frame: torch.Tensor,
        blank: torch.Tensor,
        key: torch.Tensor,
    ) -> torch.Tensor:
        """
        Args:
            words (`torch.Tensor` of shape `(batch, slot_length, hidden_size)`): The slot's, in their order.
            mask (`torch.Tensor` of shape `(batch, slot_length)`, bool): Which of them there are.
            spoken (`torch.Tensor` of shape `(batch, slot_length)`, bool): Which of these soft tokens are made of.
            frame (`torch.Tensor` of shape `(num_frame_tokens, hidden_size)`): One opens, the others follow the words
                and say what to do with them, as a reminder does.
            blank (`torch.Tensor` of shape `(hidden_size,)`): Stands where fewer words are spoken than could be.
            key (`torch.Tensor` of shape `(batch, encoder_hidden_size)`): The slot's.

        Returns:
            `torch.Tensor` of shape `(batch, num_soft_tokens, hidden_size)`.
        """
        batch, num_frame = len(words), len(frame)
        # Places that no row of the batch has a word for change nothing, and are half of the work.
        filled = mask.any(dim=0).nonzero()
        length = max(self.num_content_tokens, int(filled[-1]) + 1 if len(filled) else 0)
        words, mask, spoken = words[:, :length], mask[:, :length], spoken[:, :length]
        seen = torch.cat([frame.expand(batch, -1, -1), words], dim=1)
        inner = self.down(seen / self._size(seen)) + self.places[: num_frame + length]
        inner = inner + self.spoken * nn.functional.pad(spoken, (num_frame, 0)).unsqueeze(-1)
        inner = torch.cat([inner, self.key_down(key)[:, None]], dim=1)
        missing = nn.functional.pad(~mask, (num_frame, 1), value=False)
        inner = self.encoder(inner, src_key_padding_mask=missing)[:, :-1]

        # Spoken words first, in their order, then places for blanks.
        order = (~spoken).long().argsort(dim=1, stable=True)[:, : self.num_content_tokens]
        row = torch.arange(batch, device=words.device)[:, None]
        content = torch.where(spoken[row, order].unsqueeze(-1), words[row, order], blank)
        tokens = self._framed(content, frame.expand(batch, -1, -1))
        from_place = self._framed(inner[row, order + num_frame], inner[:, :num_frame])

        score = self.word_query(from_place) @ self.word_key(inner[:, num_frame:]).mT / inner.shape[-1] ** 0.5
        # An empty slot has no words: softmax over nothing would be nan.
        weight = score.masked_fill(~mask[:, None], torch.finfo(score.dtype).min).softmax(-1)
        weight = weight.masked_fill(~mask[:, None], 0.0)
        others = weight @ (words / self._size(words))
        out: torch.Tensor = tokens + self._size(tokens) * (self.up(from_place) + self.word_gate(from_place) * others)
        return out

    def _size(self, tokens: torch.Tensor) -> torch.Tensor:
        """An embedding's own size is the unit: LMs differ in it by orders of magnitude."""
        size: torch.Tensor = tokens.norm(dim=-1, keepdim=True).clamp_min(1e-6) / self.hidden_size**0.5
        return size

    def _framed(self, content: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
        return torch.cat([frame[:, :1], content, frame[:, 1:]], dim=1)
