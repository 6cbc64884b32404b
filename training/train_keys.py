"""The first stage of memory training: vectors by which a question finds the stored turn that matters for it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from datasets import Dataset
from pref_lstm.modeling.key_encoder import KeyEncoder
from pref_lstm.modeling.outputs import EncoderPass
from pref_lstm.modeling.turn import Turn
from pref_lstm.modeling.turn_encoder import TurnEncoder
from transformers import Trainer

from .arguments import KeyTrainingArguments
from .bank import Bank
from .relevance_rows import RelevanceRow, relevance_rows
from .resume import train_from_last

# Logits are cosines times this, as the memory starts with (`SlotCell.log_temperature`).
_SCALE = 20.0
_NOT_COMPARED = -1e9
# Weight of finding a preference by its restatement. At 1, questions find their turn less often (docs/).
_RESTATED = 0.2
# Of an unrelated message: as long as the questions are, else their padding is most of the work.
_MAX_CHARACTERS = 200


class KeyCollator:
    """
    Batches of distinct preferences: a turn that states each, a question about it, and a turn that restates or reverses
    it; neighbouring preferences, messages that only look as if one mattered, and unrelated ones as negatives.

    Args:
        encoder ([`TurnEncoder`]): Its frozen layers read everything.
        rows (`Sequence[RelevanceRow]`): To draw from; `general` has the questions of topics.
        unrelated (`Sequence[str]`): Messages for which no preference matters.
    """

    def __init__(
        self,
        encoder: TurnEncoder,
        rows: Sequence[RelevanceRow],
        general: Mapping[str, Sequence[str]],
        unrelated: Sequence[str],
    ) -> None:
        self.encoder, self.rows, self.general, self.unrelated = encoder, rows, general, unrelated

    def __call__(self, drawn: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        """What is drawn has `index` (seeds the rest) and `row`. Returns the arguments of [`KeyLoss`]."""
        rng = random.Random(f"keys {drawn[0]['index']}")
        chosen = [self.rows[item["row"]] for item in drawn]
        stated = [rng.choice(row.forms) for row in chosen]
        restated = [_restate(row, turn, rng) for row, turn in zip(chosen, stated, strict=True)]
        general = [self.general.get(r.topic, r.questions) if rng.random() < 0.2 else r.questions for r in chosen]
        asked = [Turn(rng.choice(questions)) for questions in general]
        near = [(i, Turn(rng.choice(row.near))) for i, row in enumerate(chosen) if row.near]
        unrelated = [Turn(text[:_MAX_CHARACTERS]) for text in rng.choices(self.unrelated, k=len(chosen) // 3)]
        restated += [Turn(row.different) for row in chosen if row.different]
        compared = torch.ones(len(chosen), len(asked) + len(near) + len(unrelated), dtype=torch.bool)
        for i, one in enumerate(chosen):
            for j, other in enumerate(chosen):
                compared[i, j] = i == j or one.topic != other.topic
            for j, (own, _) in enumerate(near, len(asked)):
                compared[i, j] = i == own  # for others it may matter
        return {
            "stated": self.encoder.hidden_states(stated, for_vectors=True),
            "restated": self.encoder.hidden_states(restated, for_vectors=True),
            "asked": self.encoder.hidden_states([*asked, *(t for _, t in near), *unrelated], for_vectors=True),
            "compared": compared,
        }


def _restate(row: RelevanceRow, stated: Turn, rng: random.Random) -> Turn:
    return rng.choice([*[form for form in row.forms if form is not stated], *row.revised])


class KeyLoss(torch.nn.Module):
    """
    A key encoder with its in-batch contrastive loss (InfoNCE) as `forward`: questions find their turn, turns their
    question among other messages too, and a restated or reversed preference its first statement. Turns of one topic
    are no negatives for a question. All other messages are: what a detector lets in by mistake is mostly a request, and
    requests are more like a question than what their user has said of themself.
    """

    def __init__(self, key_encoder: KeyEncoder) -> None:
        super().__init__()
        self.key_encoder = key_encoder

    def forward(
        self, stated: EncoderPass, restated: EncoderPass, asked: EncoderPass, compared: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """
        Args:
            stated ([`EncoderPass`]): Of `n` turns.
            restated: Of `n` turns on the same matter, one by one, and any number of others.
            asked: Of `n` questions about them, one by one, and any number `m` of messages about none.
            compared (`torch.Tensor` of shape `(n, n + m)`, bool): Which turns and messages are to be told apart, and
                each turn with its question.
        """
        # Cosines times 20 need more than the 8 bits of bfloat16.
        with torch.autocast(compared.device.type, enabled=False):
            turns, again, queries = self.key_encoder(stated), self.key_encoder(restated), self.key_encoder(asked)
            n = len(turns)
            own = torch.arange(n, device=turns.device)
            left_out = ~compared.to(turns.device)
            scores = (_SCALE * turns @ queries.T).masked_fill(left_out, _NOT_COMPARED)
            itself = torch.eye(*scores.shape, dtype=torch.bool, device=turns.device)
            mistaken = (_SCALE * queries[:n] @ queries.T).masked_fill(left_out | itself, _NOT_COMPARED)
            found = F.cross_entropy(torch.cat([scores[:, :n].T, mistaken], dim=1), own)
            asking = F.cross_entropy(scores, own)
            return {"loss": asking + found + _RESTATED * F.cross_entropy(_SCALE * turns @ again.T, own)}


def train_keys(
    key_encoder: KeyEncoder, encoder: TurnEncoder, bank: Bank, unrelated: Sequence[str], arguments: KeyTrainingArguments
) -> dict[str, float]:
    """
    Train the key encoder on the topics of [`relevance_rows`] that [`is_key_topic`] gives to it.

    It starts from the encoder's own last layers, or goes on from the last checkpoint of `arguments.output_dir`.

    Returns:
        `dict[str, float]`: The Trainer's metrics.
    """
    mine = [row for row in relevance_rows(bank) if is_key_topic(row.topic)]
    collator = KeyCollator(encoder, mine, {t.topic: t.questions for t in bank.topics}, unrelated)
    order = list(range(len(mine)))
    drawn: list[int] = []
    rng = random.Random(arguments.seed)
    while len(drawn) < arguments.max_steps * arguments.train_batch_size:
        drawn += rng.sample(order, len(order))
    dataset = Dataset.from_dict({"row": drawn, "index": list(range(len(drawn)))})
    key_encoder.copy_last_layers(encoder.backbone)
    trainer = Trainer(KeyLoss(key_encoder), arguments, data_collator=collator, train_dataset=dataset)
    metrics = train_from_last(trainer)
    key_encoder.eval()
    return metrics


def is_key_topic(topic: str) -> bool:
    """
    Whether the key encoder learns from a topic. The others are the gate's: it has to see cosines as they come out on
    what the key encoder was not trained on.
    """
    return random.Random(topic).random() < 0.85
