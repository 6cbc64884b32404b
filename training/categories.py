"""Preference categories for the paper's second stage, and OASST1's conversations labelled with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pref_lstm.modeling.turn import Turn
from pref_lstm.modeling.turn_encoder import TurnEncoder
from sentence_transformers import SentenceTransformer

from .bank import BankTopic

_BATCH_SIZE = 32
_HELD_OUT = 10


@dataclass
class CategorySequences:
    """
    Conversations as the memory's second stage reads them.

    Args:
        vectors (`torch.Tensor` of shape `(n, num_turns, vector_size)`): Of each user turn.
        labels (`torch.Tensor` of shape `(n, num_turns)`): Its category, -100 where there is no turn.
        held_out (`torch.Tensor` of shape `(n,)`, bool): Conversations that are measured and not trained on.
    """

    vectors: torch.Tensor
    labels: torch.Tensor
    held_out: torch.Tensor


def nearest_topics(encoder: SentenceTransformer, topics: Sequence[BankTopic], texts: Sequence[str]) -> torch.Tensor:
    """
    The category of each text, `(n,)`: the bank's topic whose questions it is nearest to, by the cosine of its sentence
    vector and the mean of theirs. Every text has one, whether it holds a preference or not.
    """

    def vectors(of: Sequence[str]) -> torch.Tensor:
        found: torch.Tensor = encoder.encode(
            list(of), convert_to_tensor=True, normalize_embeddings=True, show_progress_bar=False
        )
        return found.cpu()

    centres = torch.stack([F.normalize(vectors(topic.questions).mean(0), dim=0) for topic in topics])
    return (vectors(texts) @ centres.T).argmax(dim=1)


def label_threads(
    encoder: TurnEncoder, topics: Sequence[BankTopic], threads: dict[str, list[Turn]]
) -> CategorySequences:
    """
    Encode and label conversations.

    Args:
        encoder ([`TurnEncoder`]): The adapter's; makes the vectors. Its sentence model makes the labels.
        topics (`Sequence[BankTopic]`): The categories.
        threads (`dict[str, list[Turn]]`): Of [`load_oasst_threads`]. Every tenth is held out.
    """
    flat = [turn for turns in threads.values() for turn in turns]
    batches = [flat[i : i + _BATCH_SIZE] for i in range(0, len(flat), _BATCH_SIZE)]
    vectors = torch.cat([encoder.encode_pooled(batch) for batch in batches])
    labels = nearest_topics(encoder.encoder, topics, [turn.user for turn in flat])
    lengths = torch.tensor([len(turns) for turns in threads.values()])
    is_turn = torch.arange(int(lengths.max())) < lengths[:, None]
    out = CategorySequences(
        vectors.new_zeros(*is_turn.shape, vectors.shape[1]),
        torch.full(is_turn.shape, -100),
        torch.arange(len(threads)) % _HELD_OUT == 0,
    )
    out.vectors[is_turn], out.labels[is_turn] = vectors, labels
    return out
