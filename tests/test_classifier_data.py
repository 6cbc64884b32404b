"""What the classifier learns from: the bank as turns, turns derived from it, hand-written examples, splits."""

import json
import re

import pytest
from pref_lstm.training.bank import load_bank
from pref_lstm.training.bank_turns import load_bank_turns
from pref_lstm.training.classifier_data import classifier_data, hand_written_examples
from pref_lstm.training.derived_turns import derived_negatives, inside_prompts
from pref_lstm.training.turn_grammar import read_packaged


@pytest.fixture(scope="module")
def bank():
    return load_bank_turns()


def test_the_bank_as_turns(bank):
    preferences, topics = load_bank()
    revealing = sum(len(row.forms) + 1 + (row.different is not None) for row in preferences)
    assert sum(turn["preference"] for turn in bank) == revealing
    assert len(bank) == revealing + 3 * len(preferences) + sum(len(topic.questions) for topic in topics)
    assert all(turn["user"].strip() for turn in bank)
    assert {turn["family"] for turn in bank if turn["agent"]} == {"bank_implicit"}


def test_no_topic_of_the_bank_is_in_two_splits(bank):
    splits = {}
    for turn in bank:
        splits.setdefault(turn["topic"], set()).add(turn["split"])
    assert all(len(split) == 1 for split in splits.values())
    assert set.union(*splits.values()) == {"train", "validation", "test"}


def test_hand_written_examples_are_labelled_and_unique():
    rows = hand_written_examples()
    assert {row["preference"] for row in rows} == {0, 1}
    assert len({(row["agent"], row["user"]) for row in rows}) == len(rows) > 900


@pytest.mark.parametrize(("name", "count"), [("eval_turns.jsonl", 80), ("eval_turns_dev.jsonl", 320)])
def test_no_turn_that_is_measured_with_is_learnt_from(name, count):
    def plain(row):
        return re.sub(r"\W+", " ", row["user"].lower()).strip()

    measured = read_packaged(name)
    assert len(measured) == count and 2 * sum(row["preference"] for row in measured) == count
    # Three words can be anybody's: "make it shorter".
    learnt = {plain(row) for row in hand_written_examples()}
    assert not [row["user"] for row in measured if plain(row) in learnt and len(plain(row).split()) > 3]


def test_negatives_derived_from_the_bank():
    bank = [
        {"agent": "", "preference": 1, "user": f"I love tea {number}.", "family": "bank_statement"}
        for number in range(60)
    ] + [
        {"agent": f"Line {number}", "preference": 1, "user": "Never.", "family": "bank_implicit"}
        for number in range(20)
    ]
    negatives = derived_negatives(bank, seed=0)
    assert negatives == derived_negatives(bank, seed=0)
    quoted = [turn for turn in negatives if not turn["agent"]]
    assert 3 < len(quoted) < 25 and all("I love tea" in turn["user"] for turn in quoted)
    assert 8 < len(negatives) - len(quoted) <= 20
    assert not any("Never" in turn["user"] or "{" in turn["user"] for turn in negatives)


def test_statements_inside_real_prompts(bank):
    prompts = [{"agent": "", "user": f"How tall is tower {number}?"} for number in range(9)]
    prompts.append({"agent": "", "user": "long " * 100})
    turns = inside_prompts(bank, prompts, seed=0)
    assert [turn["preference"] for turn in turns] == [0, 1] * 9
    said = {label: {turn["user"] for turn in bank if turn["preference"] == label} for label in (0, 1)}
    for number, turn in enumerate(turns):
        prompt = f"How tall is tower {number // 2}?"
        assert prompt in turn["user"]
        assert turn["user"].replace(prompt, "").strip() in said[turn["preference"]]


def test_parts_and_weights_of_the_data(tmp_path):
    trees = [
        {"message_id": f"m{n}", "parent_id": None, "message_tree_id": f"t{n}", "role": "prompter"} for n in range(20)
    ]
    oasst = tmp_path / "oasst.jsonl"
    oasst.write_text("".join(json.dumps({**tree, "text": "How are you?"}) + "\n" for tree in trees), "utf-8")
    sessions = [{"session": f"s{n}", "agent": "", "user": "hi", "preference": n % 2, "memory": 0} for n in range(40)]
    alpsbench = tmp_path / "alpsbench.jsonl"
    alpsbench.write_text("".join(json.dumps(row) + "\n" for row in sessions), "utf-8")
    turns = classifier_data(oasst, alpsbench, alpsbench_weight=0.5)
    for part in turns.values():
        rows = part.select_columns(["labels", "weight", "noisy", "source"]).to_list()
        assert {row["weight"] for row in rows if row["source"] == "oasst"} == {3.0}
        assert {row["weight"] for row in rows if row["source"] == "alpsbench"} == {0.5, 2.0}
        assert all(row["noisy"] == (row["source"] == "alpsbench") for row in rows)
        assert {"synthetic", "bank_inside_prompt", "hand_written_0", "hand_written_1"} <= {
            row["source"] for row in rows
        }
