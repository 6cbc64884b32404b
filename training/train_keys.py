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
from .bank import Bank, BankPreference
from .resume import train_from_last

# Logits are cosines times this, as the memory starts with (`SlotCell.log_temperature`).
_KEY_SHARE = 0.85
_SCALE = 20.0
_SAME_TOPIC = -1e9
# Weight of finding a preference by its restatement. At 1, questions find their turn less often (docs/).
_RESTATED = 0.2
# Of an unrelated message: as long as the questions are, else their padding is most of the work.
_MAX_CHARACTERS = 200


class KeyCollator:
    """
    Batches of distinct preferences: a turn that states each, a question about it, and a turn that restates or reverses
    it; neighbouring preferences and unrelated messages as negatives.

    Args:
        encoder ([`TurnEncoder`]): Its frozen layers read everything.
        preferences (`Sequence[BankPreference]`): To draw from; `general` has the questions of each topic.
        unrelated (`Sequence[str]`): Messages for which no preference matters.
    """

    def __init__(
        self,
        encoder: TurnEncoder,
        preferences: Sequence[BankPreference],
        general: Mapping[str, Sequence[str]],
        unrelated: Sequence[str],
    ) -> None:
        self.encoder, self.preferences, self.general, self.unrelated = encoder, preferences, general, unrelated

    def __call__(self, rows: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        """Rows have `index` (seeds what is drawn) and `preference`. Returns the arguments of [`KeyLoss`]."""
        rng = random.Random(f"keys {rows[0]['index']}")
        chosen = [self.preferences[row["preference"]] for row in rows]
        stated = [rng.choice(p.forms) for p in chosen]
        restated = [_restate(p, turn, rng) for p, turn in zip(chosen, stated, strict=True)]
        general = [self.general.get(p.topic, p.questions) if rng.random() < 0.2 else p.questions for p in chosen]
        asked = [Turn(rng.choice(questions)) for questions in general]
        asked += [Turn(text[:_MAX_CHARACTERS]) for text in rng.choices(self.unrelated, k=len(chosen) // 3)]
        restated += [Turn(p.different) for p in chosen if p.different]
        topics = [p.topic for p in chosen]
        same = torch.tensor([[i != j and a == b for j, b in enumerate(topics)] for i, a in enumerate(topics)])
        return {
            "stated": self.encoder.hidden_states(stated, for_vectors=True),
            "restated": self.encoder.hidden_states(restated, for_vectors=True),
            "asked": self.encoder.hidden_states(asked, for_vectors=True),
            "same_topic": same,
        }


def _restate(p: BankPreference, stated: Turn, rng: random.Random) -> Turn:
    return rng.choice([*[form for form in p.forms if form is not stated], Turn(p.opposite)])


class KeyLoss(torch.nn.Module):
    """
    A key encoder with its in-batch contrastive loss (InfoNCE) as `forward`: questions find their turn, turns their
    question among unrelated messages too, and a restated or reversed preference its first statement. Turns of one topic
    are no negatives for a question. All other messages are: what a detector lets in by mistake is mostly a request, and
    requests are more like a question than what their user has said of themself.
    """

    def __init__(self, key_encoder: KeyEncoder) -> None:
        super().__init__()
        self.key_encoder = key_encoder

    def forward(
        self, stated: EncoderPass, restated: EncoderPass, asked: EncoderPass, same_topic: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """
        Args:
            stated ([`EncoderPass`]): Of `n` turns.
            restated: Of `n` turns on the same matter, one by one, and any number of others.
            asked: Of `n` questions about them, one by one, and any number of unrelated messages.
            same_topic (`torch.Tensor` of shape `(n, n)`, bool): Pairs that are not to be told apart by a question.
        """
        # Cosines times 20 need more than the 8 bits of bfloat16.
        with torch.autocast(same_topic.device.type, enabled=False):
            turns, again, queries = self.key_encoder(stated), self.key_encoder(restated), self.key_encoder(asked)
            n = len(turns)
            own = torch.arange(n, device=turns.device)
            scores = _SCALE * turns @ queries.T
            same = F.pad(same_topic.to(turns.device), (0, scores.shape[1] - n))
            scores = scores.masked_fill(same, _SAME_TOPIC)
            itself = torch.eye(*scores.shape, dtype=torch.bool, device=turns.device)
            mistaken = (_SCALE * queries[:n] @ queries.T).masked_fill(same | itself, _SAME_TOPIC)
            found = F.cross_entropy(torch.cat([scores[:, :n].T, mistaken], dim=1), own)
            asking = F.cross_entropy(scores, own)
            return {"loss": asking + found + _RESTATED * F.cross_entropy(_SCALE * turns @ again.T, own)}


def train_keys(
    key_encoder: KeyEncoder, encoder: TurnEncoder, bank: Bank, unrelated: Sequence[str], arguments: KeyTrainingArguments
) -> dict[str, float]:
    """
    Train the key encoder on the bank's topics that [`key_topics`] gives to it.

    It starts from the encoder's own last layers, or goes on from the last checkpoint of `arguments.output_dir`.

    Returns:
        `dict[str, float]`: The Trainer's metrics.
    """
    preferences, topics = bank
    chosen = key_topics(bank)
    mine = [p for p in preferences if p.topic in chosen]
    collator = KeyCollator(encoder, mine, {t.topic: t.questions for t in topics}, unrelated)
    order = list(range(len(mine)))
    rows: list[int] = []
    rng = random.Random(arguments.seed)
    while len(rows) < arguments.max_steps * arguments.train_batch_size:
        rows += rng.sample(order, len(order))
    dataset = Dataset.from_dict({"preference": rows, "index": list(range(len(rows)))})
    key_encoder.copy_last_layers(encoder.backbone)
    trainer = Trainer(KeyLoss(key_encoder), arguments, data_collator=collator, train_dataset=dataset)
    metrics = train_from_last(trainer)
    key_encoder.eval()
    return metrics


def key_topics(bank: Bank) -> frozenset[str]:
    """
    The topics that the key encoder learns from, some 85 % of them, whatever else is in the bank. The others are the
    gate's: it has to see cosines as they come out on what the key encoder was not trained on.

    Raises:
        ValueError: if there are too few to have one for the key encoder and two for the gate.
    """
    drawn = {topic: random.Random(topic).random() for topic in {p.topic for p in bank.preferences}}
    if len(drawn) < 3:
        raise ValueError(f"A bank must have preferences of at least 3 topics, got {len(drawn)}. Write some of others.")
    count = sum(number < _KEY_SHARE for number in drawn.values())
    return frozenset(sorted(drawn, key=lambda topic: drawn[topic])[: min(max(count, 1), len(drawn) - 2)])
