"""Rows without an answer: which stored turn a question is about, whether any is, and how two turns relate."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pref_lstm.modeling.cell_slots import relation_features
from pref_lstm.modeling.turn import Turn
from pref_lstm.modeling.turn_encoder import TurnEncoder
from rich.progress import track

from .bank import Bank, BankPreference
from .relation_pairs import draw_pair, load_neighbours, load_relation_rows
from .train_keys import key_topics


class RetrievalSampler:
    """
    Draws rows from a bank that need the encoder's vectors only and no LM.

    Args:
        encoder ([`TurnEncoder`]): Encodes every turn and question once.
        bank ([`Bank`]): To draw from; pairs also from the rows of [`load_relation_rows`].
        unrelated (`Sequence[str]`): Messages for which no preference matters (OASST1 prompts of the training part).
        num_rows (`int`, defaults to 128): Relevance rows per batch.
        num_pairs (`int`, defaults to 256): Relation pairs per batch.
        max_stored (`int`, defaults to 50): Most turns stored in a relevance row.
        unrelated_share (`float`, defaults to 0.5): Share of rows where nothing stored matters.
    """

    def __init__(
        self,
        encoder: TurnEncoder,
        bank: Bank,
        unrelated: Sequence[str],
        num_rows: int = 128,
        num_pairs: int = 256,
        max_stored: int = 50,
        unrelated_share: float = 0.5,
    ) -> None:
        self.encoder = encoder
        self.preferences, topics = bank
        self.num_rows, self.num_pairs, self.max_stored = num_rows, num_pairs, max_stored
        self.unrelated_share = unrelated_share
        # The key encoder was trained on the others: there its cosines tell more than they do of a new user.
        seen = key_topics(bank)
        self.unseen = [i for i, p in enumerate(self.preferences) if p.topic not in seen]
        self.turns = [_turns(p) for p in self.preferences]
        flat = [turn for turns in self.turns for turn in turns]
        self.keys = torch.split(_in_batches(encoder.encode_pooled, flat), [len(turns) for turns in self.turns])
        self.relation_rows, self.neighbours = load_relation_rows(self.preferences), load_neighbours(self.preferences)
        self.encoded: dict[str, torch.Tensor] = {}
        self.beside: dict[str, list[str]] = {}
        for row in self.relation_rows:
            own = [t for t in dict.fromkeys([*row.forms, *row.reversed, *row.different]) if t not in self.beside]
            self.beside |= dict.fromkeys(own, own)
        general = {topic.topic: topic.questions for topic in topics}
        self.questions = {
            i: [*self.preferences[i].questions, *general.get(self.preferences[i].topic, ())] for i in self.unseen
        }
        texts = sorted({q for questions in self.questions.values() for q in questions})
        self.question_index = {text: i for i, text in enumerate(texts)}
        # As the memory is asked: of a long message both ends are read.
        self.question_vectors = _in_batches(encoder.encode_query, texts)
        self.unrelated_vectors = _in_batches(encoder.encode_query, [text for text in unrelated if text.strip()])

    def __call__(self, rng: random.Random) -> dict[str, torch.Tensor | Any]:
        """
        Returns:
            `retrieval_query (num_rows, width)`, `retrieval_keys (num_rows, max_stored, width)`, `retrieval_filled
            (num_rows, max_stored)` bool, `retrieval_label (num_rows,)`: the relevant turn, or -1 where there is none;
            `first`, `second` `(num_pairs, 2 * width)`, see [`relation_features`], and `relation (num_pairs,)`.
        """
        width = self.encoder.hidden_size
        keys = torch.zeros(self.num_rows, self.max_stored, width)
        filled = torch.zeros(self.num_rows, self.max_stored, dtype=torch.bool)
        query, label = torch.zeros(self.num_rows, width), torch.full((self.num_rows,), -1)
        for r in range(self.num_rows):
            count = round(self.max_stored ** rng.random())  # few and many alike
            target = rng.choice(self.unseen)
            topic = self.preferences[target].topic
            stored: list[int] = []
            while len(stored) < count:
                i = rng.choice(self.unseen)
                if self.preferences[i].topic != topic:
                    stored.append(i)
            draw = rng.random()
            if draw < 0.5 * self.unrelated_share:
                query[r] = self.unrelated_vectors[rng.randrange(len(self.unrelated_vectors))]
            else:
                query[r] = self.question_vectors[self.question_index[rng.choice(self.questions[target])]]
                if draw >= self.unrelated_share:
                    label[r] = rng.randrange(count)
                    stored[int(label[r])] = target
            for n, i in enumerate(stored):
                keys[r, n] = self.keys[i][rng.randrange(len(self.turns[i]))]
                filled[r, n] = True
        return {
            "retrieval_query": query,
            "retrieval_keys": torch.nn.functional.normalize(keys, dim=-1),
            "retrieval_filled": filled,
            "retrieval_label": label,
            **self._pairs(rng),
        }

    def _pairs(self, rng: random.Random) -> dict[str, Any]:
        rows = self.relation_rows
        drawn = [draw_pair(rows, self.neighbours, rng.randrange(len(rows)), rng) for _ in range(self.num_pairs)]
        firsts, seconds, relations = zip(*drawn, strict=True)
        return {
            "first": torch.cat([self._relation_features(text) for text in firsts]),
            "second": torch.cat([self._relation_features(text) for text in seconds]),
            "relation": torch.tensor(relations),
        }

    def _relation_features(self, text: str) -> torch.Tensor:
        # A row's texts always together: as drawn they would depend, in the last bits, on where a run was resumed.
        if text not in self.encoded:
            texts = self.beside.get(text, [text])
            features = relation_features(self.encoder.encode([Turn(t) for t in texts]))
            self.encoded |= dict(zip(texts, torch.split(features, 1), strict=True))
        return self.encoded[text]


def _in_batches(encode: Callable[[list[Any]], torch.Tensor], messages: list[Any]) -> torch.Tensor:
    batches = [messages[i : i + 64] for i in range(0, len(messages), 64)]
    return torch.cat([encode(batch) for batch in track(batches, description="encoding messages")])


def _turns(p: BankPreference) -> list[Turn]:
    """The forms of a preference and its opposite."""
    return [*p.forms, Turn(p.opposite)]
