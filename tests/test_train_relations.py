"""Pairs for the relation encoder: their labels, their shares, what is held out; the loss; that it learns."""

import json
import random
import re
from collections import Counter
from importlib.resources import files

import pytest
import torch
from pref_lstm.modeling.relation_encoder import RelationEncoder
from pref_lstm.modeling.turn import Turn
from pref_lstm.modeling.turn_encoder import TurnEncoder
from pref_lstm.modeling.turn_tokenization import tokenize_turns
from pref_lstm.training.arguments import RelationTrainingArguments
from pref_lstm.training.bank import Bank, load_bank
from pref_lstm.training.relation_pairs import RelationRow, draw_pair, draw_read, load_neighbours, load_relation_rows
from pref_lstm.training.train_relations import RelationLoss, train_relations
from tiny import ENCODER_WIDTH, make_encoder, make_tokenizer
from tiny_bank import bank_files

SAME, REVERSED, DIFFERENT = range(3)
WRITTEN = 3991  # rows of relation_pairs.jsonl
ROWS = [RelationRow((f"f{i}", f"g{i}"), (f"r{i}", f"s{i}"), (f"d{i}",)) for i in range(3)]
NEIGHBOURS = [["n1", "n2"], ["n3", "n4"]]


def read(name):
    return [json.loads(line) for line in (files("pref_lstm.training") / name).read_text().splitlines()]


def test_rows_are_the_written_ones_twice_and_the_banks():
    rows = load_relation_rows(load_bank().preferences)
    written, again, of_bank = rows[:WRITTEN], rows[WRITTEN : 2 * WRITTEN], rows[2 * WRITTEN :]
    assert written == again and len(of_bank) == 917
    assert all(len(row.forms) == 4 and {len(row.reversed), len(row.different)} <= {2, 3} for row in written)
    assert all(len(row.forms) == 2 and len(row.reversed) == len(row.different) == 1 for row in of_bank)


def test_no_word_of_feeling_or_denial_gives_a_label_away():
    """At most three times as often after one label as after another: a reader of single words would learn it."""
    rows = read("relation_pairs.jsonl")
    for cue in (r"\b(love|loves|hate|hates)\b", r"\b(not|never|\w+n't|dont)\b"):
        shares = [
            sum(bool(re.search(cue, text.lower())) for row in rows for text in row[name])
            / sum(len(row[name]) for row in rows)
            for name in ("same", "reversed", "different")
        ]
        assert max(shares) < max(3 * min(shares), 0.05), (cue, shares)


def test_nothing_that_is_measured_with_is_learnt_from():
    learnt = {text for row in load_relation_rows(load_bank().preferences) for text in [*row.forms, *row.reversed]}
    learnt |= {text for row in load_relation_rows(load_bank().preferences) for text in row.different}
    plain = {" ".join(text.lower().split()).rstrip(".!") for text in learnt}
    names = ("eval_conflicts.jsonl", "eval_conflicts_dev.jsonl")
    held_out = [row[name] for file in names for row in read(file) for name in ("first", "second")]
    assert len(held_out) == 2 * (240 + 300)
    assert not [text for text in held_out if " ".join(text.lower().split()).rstrip(".!") in plain]


def test_neighbours_are_the_preferences_of_a_topic():
    neighbours = load_neighbours(load_bank().preferences)
    assert sum(map(len, neighbours)) > 1_800 and all(len(set(texts)) == len(texts) > 1 for texts in neighbours)


def kind_of(first, second, relation, row):
    """Which kind of pair it is, after a check that its texts say so: `left`, `neighbours` and `rows` are different."""
    kinds, rows = {first[0], second[0]}, {first[1], second[1]}
    if relation == SAME:
        assert kinds == {"f", "g"} and rows == {str(row)}
    elif relation == REVERSED:
        assert len(kinds & {"f", "g"}) == 1 and len(kinds & {"r", "s"}) == 1 and rows == {str(row)}
    elif "n" in kinds:
        assert {first, second} in ({"n1", "n2"}, {"n3", "n4"})
        return "neighbours"
    else:
        assert str(row) in rows and (len(rows) == 2 or ("d" in kinds and len(kinds) == 2))
        return "left" if len(rows) == 1 else "rows"
    return relation


def test_a_pair_relates_as_its_label_says():
    rng = random.Random(0)
    found, swapped = Counter(), 0
    for n in range(3000):
        first, second, relation = draw_pair(ROWS, NEIGHBOURS, n % 3, rng)
        found[kind_of(first, second, relation, n % 3)] += 1
        swapped += relation == REVERSED and second[0] in "fg"
    expected = {SAME: 1 / 4, REVERSED: 1 / 4, "left": 1 / 6, "neighbours": 1 / 6, "rows": 1 / 6}
    assert all(abs(found[kind] / 3000 - share) < 0.03 for kind, share in expected.items())
    assert swapped > 0  # either may come first


def test_what_is_read_comes_as_one_pair_of_each_relation_with_a_text_in_common():
    rng = random.Random(0)
    found = Counter()
    for n in range(3000):
        pairs = draw_read(ROWS, NEIGHBOURS, n % 3, rng)
        assert [relation for *_, relation in pairs] == [SAME, REVERSED, DIFFERENT]
        assert len(set(pairs[0][:2]) & set(pairs[1][:2])) == 1
        found[kind_of(*pairs[2], n % 3)] += 1
        assert [kind_of(*pair, n % 3) for pair in pairs[:2]] == [SAME, REVERSED]
    assert all(abs(found[kind] / 3000 - k / 10) < 0.03 for kind, k in (("left", 6), ("neighbours", 3), ("rows", 1)))


def test_without_neighbours_the_other_kinds_are_drawn_as_often_as_among_themselves():
    rng = random.Random(0)
    found = Counter(kind_of(*draw_read(ROWS, [], n % 3, rng)[2], n % 3) for n in range(2000))
    assert abs(found["left"] / 2000 - 6 / 7) < 0.03 and found["neighbours"] == 0


def test_the_loss_is_the_smoothed_cross_entropy():
    torch.manual_seed(0)
    encoder, relations = make_encoder(), RelationEncoder(ENCODER_WIDTH, 1, 2)
    batch = tokenize_turns(encoder.tokenizer, [Turn("tea", agent="no tea"), Turn("I love cats", agent="cats")])
    logits = relations(encoder[0].auto_model, **batch)
    log_p = logits - logits.logsumexp(-1, keepdim=True)
    target = torch.tensor([[0.05 / 3, 0.95 + 0.05 / 3, 0.05 / 3], [0.95 + 0.05 / 3, 0.05 / 3, 0.05 / 3]])
    loss = RelationLoss(relations, encoder[0].auto_model)(torch.tensor([REVERSED, SAME]), **batch)["loss"]
    torch.testing.assert_close(loss, -(target * log_p).sum(-1).mean())


@pytest.mark.parametrize("seed", [0, 1])
def test_it_learns_and_the_encoder_stays(tmp_path, monkeypatch, seed):
    rows = [RelationRow((f"love {x}", f"{x}, love"), (f"hate {x}",), (f"train {x} {x}",)) for x in "abcdefgh"]
    monkeypatch.setattr("pref_lstm.training.train_relations.load_relation_rows", lambda preferences: rows)
    neighbours = [["train a a", "tea, love"], ["train d d", "hate cats"]]
    monkeypatch.setattr("pref_lstm.training.train_relations.load_neighbours", lambda preferences: neighbours)
    encoder = TurnEncoder(make_encoder(), make_tokenizer())
    before = {name: tensor.clone() for name, tensor in encoder.backbone.state_dict().items()}
    torch.manual_seed(seed)
    relations = RelationEncoder(ENCODER_WIDTH, 2, 4)
    arguments = RelationTrainingArguments(
        str(tmp_path), max_steps=200, learning_rate=1e-2, seed=seed, use_cpu=True, report_to="none", disable_tqdm=True
    )
    train_relations(relations, encoder, Bank((), ()), arguments)
    rng = random.Random(9)
    pairs = [pair for n in range(20) for pair in draw_read(rows, neighbours, n % 8, rng)]
    batch = tokenize_turns(encoder.tokenizer, [Turn(second, agent=first) for first, second, _ in pairs])
    found = relations(encoder.backbone, **batch).argmax(-1)
    right = (found == torch.tensor([relation for *_, relation in pairs])).float().mean()
    assert right > 0.8
    for name, tensor in encoder.backbone.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_bank_of_ones_own_adds_what_it_has(tmp_path):
    bank = load_bank(bank_files(tmp_path))
    assert len(load_relation_rows(bank.preferences)) == 2 * WRITTEN + 6
