"""The rows that say for which messages a preference matters, and what the gate's stage draws from them."""

import json
import random
from importlib.resources import files

import torch
from pref_lstm.modeling.turn import Turn
from pref_lstm.modeling.turn_encoder import TurnEncoder
from pref_lstm.training import retrieval_sampler
from pref_lstm.training.bank import Bank, load_bank
from pref_lstm.training.relevance_rows import RelevanceRow, relevance_rows
from pref_lstm.training.retrieval_sampler import RetrievalSampler
from pref_lstm.training.train_keys import is_key_topic
from tiny import ENCODER_WIDTH, make_encoder, make_tokenizer

WRITTEN = 1877  # rows of relevance.jsonl


def texts_of(row):
    turns = [turn.user for turn in (*row.forms, *row.revised)]
    return [*turns, *row.questions, *row.near]


def test_rows_are_the_banks_and_the_written_ones():
    bank = load_bank()
    rows = relevance_rows(bank)
    of_bank, written = rows[: len(bank.preferences)], rows[len(bank.preferences) :]
    assert len(written) == WRITTEN
    assert all(len(row.forms) == 2 and len(row.questions) == len(row.near) == 3 for row in written)
    assert [row.forms for row in of_bank] == [p.forms for p in bank.preferences]
    assert all(len(row.revised) == 1 and not row.near for row in of_bank)


def test_no_message_is_both():
    """What matters for a row is not near for it, and no two rows have a text in common."""
    written = [row for row in relevance_rows(load_bank()) if row.near]
    plain = [" ".join(text.lower().split()) for row in written for text in texts_of(row)]
    assert len(set(plain)) == len(plain)


def test_nothing_that_is_measured_with_is_learnt_from():
    written = [row for row in relevance_rows(load_bank()) if row.near]
    learnt = {" ".join(text.lower().split()) for row in written for text in texts_of(row)}
    lines = (files("pref_lstm.training") / "eval_polarity.jsonl").read_text().splitlines()
    held_out = [json.loads(line)[name] for line in lines for name in ("preference", "opposite", "question")]
    assert not [text for text in held_out if " ".join(text.lower().split()) in learnt]


def test_behind_a_near_message_the_turn_is_stored_and_does_not_matter(monkeypatch):
    topics = [name for name in map(str, range(99)) if not is_key_topic(name)]
    rows = [RelevanceRow(t, (Turn(f"I like {t}"),), (), None, (f"what {t}",), (f"why {t}",)) for t in topics]
    monkeypatch.setattr(retrieval_sampler, "relevance_rows", lambda bank: rows)
    encoder = TurnEncoder(make_encoder(), make_tokenizer())
    sampler = RetrievalSampler(encoder, Bank((), ()), ["count"], num_rows=200, num_pairs=1, max_stored=3)
    batch = sampler(random.Random(0))
    assert batch["retrieval_query"].shape == (200, ENCODER_WIDTH)

    def vectors(texts, encode):
        return torch.nn.functional.normalize(encode(texts), dim=-1)

    keys = vectors([row.forms[0] for row in rows], encoder.encode_pooled)
    kinds = {"count": ["count"], "what": [f"what {t}" for t in topics], "why": [f"why {t}" for t in topics]}
    asked = {kind: encoder.encode_query(texts) for kind, texts in kinds.items()}
    seen = dict.fromkeys(kinds, 0)
    for query, stored, label in zip(
        batch["retrieval_query"], batch["retrieval_keys"], batch["retrieval_label"].tolist(), strict=True
    ):
        kind, index = min(
            ((k, i) for k, v in asked.items() for i in range(len(v))),
            key=lambda at: (asked[at[0]][at[1]] - query).norm(),
        )
        seen[kind] += 1
        places = [n for n, key in enumerate(stored) if kind != "count" and torch.allclose(key, keys[index], atol=1e-5)]
        assert label < 0 or kind == "what"
        assert (label in places) if label >= 0 else (bool(places) == (kind == "why"))
    assert min(seen.values()) > 10
