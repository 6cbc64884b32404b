"""The stage of memory training that teaches the encoder to read two turns as a pair."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from datasets import Dataset
from pref_lstm.modeling.relation_encoder import RelationEncoder
from pref_lstm.modeling.turn import Turn
from pref_lstm.modeling.turn_encoder import TurnEncoder
from pref_lstm.modeling.turn_tokenization import tokenize_turns
from torch import nn
from transformers import Trainer

from .arguments import RelationTrainingArguments
from .bank import Bank
from .relation_pairs import draw_read, load_neighbours, load_relation_rows
from .resume import train_from_last

_LABEL_SMOOTHING = 0.05


class RelationLoss(nn.Module):
    """
    A relation encoder with its cross-entropy as `forward`.

    Args:
        relation_encoder ([`RelationEncoder`]): What is trained.
        backbone (`nn.Module`): The frozen encoder, which is no part of what is saved.
    """

    def __init__(self, relation_encoder: RelationEncoder, backbone: nn.Module) -> None:
        super().__init__()
        self.relation_encoder = relation_encoder
        self._frozen = (backbone,)

    def forward(self, relation: torch.Tensor, **pairs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Of `relation (batch,)` and the tokenized pairs, the `loss`, a mean."""
        logits = self.relation_encoder(self._frozen[0], **pairs)
        return {"loss": F.cross_entropy(logits, relation, label_smoothing=_LABEL_SMOOTHING)}


def train_relations(
    relation_encoder: RelationEncoder, encoder: TurnEncoder, bank: Bank, arguments: RelationTrainingArguments
) -> dict[str, float]:
    """
    Train the relation encoder on pairs of [`load_relation_rows`].

    It goes on from the last checkpoint of `arguments.output_dir`, if there is one.

    Returns:
        `dict[str, float]`: The Trainer's metrics.
    """
    rows, neighbours = load_relation_rows(bank.preferences), load_neighbours(bank.preferences)

    def collate(batch: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        rng = random.Random(f"relations {batch[0]['index']}")
        drawn = [pair for row in batch for pair in draw_read(rows, neighbours, row["row"], rng)]
        firsts, seconds, relations = zip(*drawn, strict=True)
        pairs = [Turn(second, agent=first) for first, second in zip(firsts, seconds, strict=True)]
        return {**tokenize_turns(encoder.tokenizer, pairs), "relation": torch.tensor(relations)}

    rng = random.Random(arguments.seed)
    order: list[int] = []
    while len(order) < arguments.max_steps * arguments.train_batch_size:
        order += rng.sample(range(len(rows)), len(rows))
    dataset = Dataset.from_dict({"row": order, "index": list(range(len(order)))})
    trainer = Trainer(
        RelationLoss(relation_encoder, encoder.backbone), arguments, data_collator=collate, train_dataset=dataset
    )
    return train_from_last(trainer)
