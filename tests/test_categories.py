"""The paper's stage: which turns it sees, how they are labelled, and that padding changes nothing."""

import json

import torch
from pref_lstm.modeling.outputs import EncodedTurn
from pref_lstm.modeling.turn import Turn
from pref_lstm.training.bank import BankTopic
from pref_lstm.training.categories import label_threads, nearest_topics
from pref_lstm.training.oasst import load_oasst_threads, oasst_split
from pref_lstm.training.train_categories import CategoryModel
from tiny import TOLERANCE, make_encoder, make_model, make_turn_encoder, random_turns

# One question each: a random encoder knows no more than that a text is itself.
TOPICS = (BankTopic("tea", (), ("green tea?",)), BankTopic("trains", (), ("the train now",)))


def test_a_thread_is_the_trees_longest(tmp_path):
    tree = next(f"tree {i}" for i in range(9) if oasst_split(f"tree {i}") == "train")
    other = next(f"tree {i}" for i in range(9) if oasst_split(f"tree {i}") == "test")
    rows = [
        ("a", None, "prompter", "one", tree), ("b", "a", "assistant", "yes", tree), ("c", "b", "prompter", "two", tree),
        ("d", "a", "assistant", "no", tree), ("e", "d", "prompter", " ", tree), ("x", None, "prompter", "x", other),
    ]  # fmt: skip
    keys = ("message_id", "parent_id", "role", "text", "message_tree_id")
    (tmp_path / "o.jsonl").write_text("\n".join(json.dumps(dict(zip(keys, row, strict=True))) for row in rows))
    assert load_oasst_threads(tmp_path / "o.jsonl", "train") == {tree: [Turn("one"), Turn("two", "yes")]}
    assert list(load_oasst_threads(tmp_path / "o.jsonl", "test")) == [other]


def test_a_text_gets_the_topic_whose_questions_it_is_nearest_to():
    texts = ["the train now", "green tea?", "the train now"]
    assert nearest_topics(make_encoder(), TOPICS, texts).tolist() == [1, 0, 1]


def test_threads_become_padded_vectors_with_labels():
    encoder = make_turn_encoder()
    threads = {f"t{i}": [Turn("the train now", "yes?"), Turn("green tea?")][: 1 + i % 2] for i in range(30)}
    found = label_threads(encoder, TOPICS, threads)
    assert found.labels.tolist() == [[1, 0 if i % 2 else -100] for i in range(30)]
    expected = encoder.encode_pooled([Turn("the train now", "yes?")])[0]
    torch.testing.assert_close(found.vectors[0, 0], expected, **TOLERANCE)
    assert not found.vectors[0, 1].any()
    assert found.held_out.nonzero().flatten().tolist() == [0, 10, 20]


def test_the_category_is_told_from_the_memory_and_padding_changes_nothing():
    cell = make_model(cell="pref_lstm").memory.cell
    model = CategoryModel(cell, None, 4)
    vectors, labels = random_turns(2, 3).pooled, torch.tensor([[0, 3, 1], [2, -100, -100]])
    out = model(vectors, labels)
    state = cell.initial_state(2)
    for t in range(3):
        state = cell.step(EncodedTurn(vectors[:, t]), state, None)
        torch.testing.assert_close(out["logits"][0, t], model.classifier(state["memory"][0]), **TOLERANCE)
    alone = model(vectors[1:, :1], labels[1:, :1])
    whole = model(vectors[:1], labels[:1])
    torch.testing.assert_close(out["loss"], (alone["loss"] + 3 * whole["loss"]) / 4, **TOLERANCE)
