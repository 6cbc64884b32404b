"""From text to what the memory reads: one pass of a frozen sentence encoder, aligned with the LM's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from .fused_backbone import FusedBackbone, can_fuse, weights_key
from .key_encoder import KeyEncoder
from .outputs import EncodedTurn, EncoderPass
from .resolve import resolve_encoder
from .salience import token_salience
from .text_tokenizer import tokenize_text
from .turn import Turn
from .turn_tokenization import (
    MAX_QUERY_LENGTH,
    MAX_USER_LENGTH,
    QUERY_TAIL,
    keep_ends,
    readable_part,
    tokenize_turns,
)

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MAX_LM_TOKENS = 256


class TurnEncoder:
    """
    A frozen sentence-transformers model over (agent, user) pairs.

    The agent's line is the first segment and gives context to the user's tokens; it is left out of the pooling, so the
    vector of a turn is a vector of what the user said.

    Args:
        encoder ([`~sentence_transformers.SentenceTransformer`]): The model; it is frozen and put into eval mode.
        lm_tokenizer ([`~transformers.PreTrainedTokenizerBase`]): Tokenizer of the LM whose embeddings are copied.
        name (`str`, defaults to `""`): What the encoder was loaded by, so that a classifier can tell its backbone.
        key_encoder (`nn.Module`, *optional*): Makes the vectors from an [`EncoderPass`] instead of the encoder's own
            pooling: the adapter's [`KeyEncoder`] (`memory.key_encoder`), or [`ClassifierVectors`].
    """

    def __init__(
        self,
        encoder: SentenceTransformer,
        lm_tokenizer: PreTrainedTokenizerBase,
        name: str = "",
        key_encoder: nn.Module | None = None,
    ) -> None:
        self.encoder = encoder.eval().requires_grad_(False)
        self.tokenizer = encoder.tokenizer
        self.lm_tokenizer = lm_tokenizer
        self.name = name
        self.key_encoder = key_encoder
        self._made: tuple[object, FusedBackbone | None] | None = None

    @classmethod
    def from_pretrained(
        cls, name: str, lm_tokenizer: PreTrainedTokenizerBase, key_encoder: nn.Module | None = None
    ) -> TurnEncoder:
        """Load the encoder by folder, hub id or embedded name."""
        from sentence_transformers import SentenceTransformer  # takes seconds, and few commands need it

        return cls(SentenceTransformer(resolve_encoder(name), device="cpu"), lm_tokenizer, name, key_encoder)

    @property
    def hidden_size(self) -> int:
        size: int = self.encoder[0].auto_model.config.hidden_size
        return size

    @property
    def backbone(self) -> nn.Module:
        """The transformer below the pooling, for a classifier that shares it."""
        module: nn.Module = self.encoder[0].auto_model
        return module

    @torch.no_grad()
    def hidden_states(
        self,
        turns: Sequence[Turn],
        for_vectors: bool = False,
        max_length: int = MAX_USER_LENGTH,
        tail: int = 4,
    ) -> EncoderPass:
        """
        One forward pass of the backbone, enough for the memory and for a classifier on the same backbone.

        Args:
            turns (`Sequence[Turn]`): At least one.
            for_vectors (`bool`, defaults to `False`): Stop where the key encoder goes on, if the encoder is a BERT.
            max_length, tail (`int`): As for [`tokenize_turns`].
        """
        if not turns:
            raise ValueError("`turns` must hold at least one turn, got none.")
        batch = tokenize_turns(self.tokenizer, turns, max_length, tail=tail).to(self.encoder.device)
        num_layers = int(self.backbone.config.num_hidden_layers)  # type: ignore[union-attr, arg-type]
        fused = self._fused()
        if fused is not None:
            needed = num_layers
            if for_vectors and isinstance(self.key_encoder, KeyEncoder):
                needed -= self.key_encoder.layers.num_layers
            states = fused(**batch, num_layers=needed)
        else:
            known = {name: batch[name] for name in self.tokenizer.model_input_names if name in batch}
            states = self.backbone(**known, output_hidden_states=True).hidden_states
        return EncoderPass(states, batch["attention_mask"], batch["token_type_ids"], num_layers)

    def encode(self, turns: Sequence[Turn]) -> EncodedTurn:
        """
        Encode turns, one per row of the result.

        Args:
            turns (`Sequence[Turn]`): At least one.

        Returns:
            [`EncodedTurn`] with padding on the right; a row is the same alone and in any batch, up to float rounding.
        """
        return self.encode_from(turns, self.hidden_states(turns))

    @torch.no_grad()
    def encode_from(self, turns: Sequence[Turn], passed: EncoderPass) -> EncodedTurn:
        """[`~TurnEncoder.encode`], from a backbone pass that was made already."""
        last = passed.hidden_states[-1]
        pooled = self._pool(passed)
        texts = [readable_part(turn.user) for turn in turns]
        rows = [self._lm_tokens(text) for text in texts]
        spans_of = [self._encoder_spans(text) for text in texts]
        length = max(1, *(len(ids) for ids, _ in rows))
        ids = torch.zeros(len(rows), length, dtype=torch.long)
        mask = torch.zeros(len(rows), length, dtype=torch.bool)
        salience = torch.zeros(len(rows), length)
        features = torch.zeros(len(rows), length, last.shape[-1])
        for r, ((row, spans), text) in enumerate(zip(rows, texts, strict=True)):
            if not row:
                continue
            ids[r, : len(row)], mask[r, : len(row)] = torch.tensor(row), True
            salience[r, : len(row)] = torch.tensor(token_salience(text, spans, row, self.lm_tokenizer.vocab_size))
            user = passed.token_type_ids[r].bool() & passed.attention_mask[r].bool()
            states = last[r, user][:-1].cpu()  # without the closing [SEP]
            if len(states):
                features[r, : len(row)] = states[_align(spans, spans_of[r], len(states))]
        return EncodedTurn(pooled.float().cpu(), ids, mask, features, salience)

    @torch.no_grad()
    def encode_pooled(self, turns: Sequence[Turn]) -> torch.Tensor:
        """The vectors `(batch, hidden)`, float32, alone: a turn's key."""
        return self._pool(self.hidden_states(turns, for_vectors=True)).float().cpu()

    @torch.no_grad()
    def encode_query(self, texts: Sequence[str]) -> torch.Tensor:
        """
        The vectors `(batch, hidden)`, float32, of the user's current messages, for [`PrefMemory.read`].

        Of a message of more than `MAX_QUERY_LENGTH` tokens the first and the last half of that number are read.
        """
        turns = [Turn(text) for text in texts]
        passed = self.hidden_states(turns, for_vectors=True, max_length=MAX_QUERY_LENGTH, tail=QUERY_TAIL)
        return self._pool(passed).float().cpu()

    def _pool(self, passed: EncoderPass) -> torch.Tensor:
        """The key encoder's vector, else the encoder's own pooling, over the user's segment."""
        if self.key_encoder is not None:
            # Without dropout, also while the adapter around it is being trained.
            training = self.key_encoder.training
            keys: torch.Tensor = self.key_encoder.eval()(passed)
            self.key_encoder.train(training)
            return keys
        features: dict[str, Any] = {
            "token_embeddings": passed.hidden_states[-1],
            "attention_mask": passed.attention_mask * passed.token_type_ids,
        }
        for module in list(self.encoder)[1:]:
            features = module(features)
        pooled: torch.Tensor = features["sentence_embedding"]
        return pooled

    def _fused(self) -> FusedBackbone | None:
        """The backbone in fused kernels, made anew where it was changed or moved."""
        key = weights_key(self.backbone.parameters())
        if self._made is None or self._made[0] != key:
            fits = can_fuse(self.backbone) and "token_type_ids" in self.tokenizer.model_input_names
            self._made = (key, FusedBackbone(self.backbone) if fits else None)
        return self._made[1]

    def _encoder_spans(self, text: str) -> list[tuple[int, int]]:
        out = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        spans: list[tuple[int, int]] = out["offset_mapping"]
        return keep_ends(spans, MAX_USER_LENGTH)  # as tokenize_turns does

    def _lm_tokens(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        out = tokenize_text(self.lm_tokenizer, text, return_offsets_mapping=True, verbose=False)
        return keep_ends(out["input_ids"], MAX_LM_TOKENS), keep_ends(out["offset_mapping"], MAX_LM_TOKENS)


def _align(spans: Sequence[tuple[int, int]], others: Sequence[tuple[int, int]], count: int) -> list[int]:
    """For each span the index of the one in `others` whose characters overlap it most, the nearest where none does."""
    candidates = list(enumerate(others))[:count]
    return [
        max(candidates, key=lambda c: (min(end, c[1][1]) - max(start, c[1][0]), -abs(start - c[1][0])))[0]
        for start, end in spans
    ]
