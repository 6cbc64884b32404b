"""The bank, and the conversations made of it: counts, determinism."""

from collections import Counter
from dataclasses import replace

import pytest
from pref_lstm.modeling.turn import Turn
from pref_lstm.training.bank import load_bank
from pref_lstm.training.conversations import bank_conversations, bank_restatements
from pref_lstm.training.recipe import load_recipe
from pref_lstm.training.synthesize import main
from pref_lstm.training.synthesize_conversations import select_conversations


def test_bank_holds_what_the_documents_say():
    preferences, topics = load_bank()
    first, second = preferences[:980], preferences[980:]
    assert (len(preferences), len(topics)) == (1897, 98)
    assert {p.topic for p in first} == {t.topic for t in topics}
    assert all(len(t.things) == 20 and len(t.questions) == 8 for t in topics)
    assert all(len(p.questions) == 3 for p in preferences)
    assert all(len(p.answers) == 2 and len(p.forms) == 3 and p.different is None for p in first)
    assert all(len(p.answers) == 1 and len(p.forms) == 2 and p.different for p in second)
    assert len({p.forms[0] for p in preferences} | {Turn(p.opposite) for p in preferences}) == 2 * 1897


def test_conversations_have_written_answers_or_the_lms_own():
    rows = bank_conversations(load_bank())
    assert Counter(row["source"] for row in rows) == {
        "first": 980, "second": 980, "opposite": 980, "pair_first": 917, "pair_opposite": 917,
        "own": 980 + 2 * 917, "mismatched": 980 + 2 * 917,
    }  # fmt: skip
    for row in rows:
        is_own = row["source"] in ("own", "mismatched")
        assert row["forms"] and row["statement"] and bool(row["answer"]) != is_own
        assert row["matters"] == (row["source"] != "mismatched")
        assert row["num_bare_tokens"] == {"own": 6, "mismatched": 1_000}.get(row["source"], 1)


def test_what_was_stated_is_asked_for_in_every_way():
    bank = load_bank()
    rows = bank_restatements(bank)
    assert {row["statement"] for row in rows} == {
        text for p in bank.preferences for text in (p.forms[0].user, p.opposite)
    }
    assert len(rows) == 2 * (980 + 917) and len({row["question"] for row in rows}) == 6
    for row in rows:
        assert row["answer"] == row["statement"] == row["forms"][0]["user"] and len(row["forms"]) == 1
        assert row["matters"] and row["num_bare_tokens"] == 0 and row["source"] == "restated"


def test_own_answers_are_to_questions_without_a_written_one():
    rows = bank_conversations(load_bank())
    answered = {
        (row["statement"], row["question"]) for row in rows if row["answer"] and "opposite" not in row["source"]
    }
    own = [row for row in rows if row["source"] == "own"]
    assert answered.isdisjoint({(row["statement"], row["question"]) for row in own})
    assert [row["question"] for row in own] == [row["question"] for row in rows if row["source"] == "mismatched"]


@pytest.mark.parametrize("name", ["default", "soft_prompt", "one_vector"])
def test_selection_is_fixed_by_the_seed(name):
    recipe, bank = load_recipe(name), load_bank()
    chosen = select_conversations(recipe, bank, 0)
    assert len(chosen) == sum(recipe.data["conversations"].values())
    assert chosen == select_conversations(load_recipe("default"), bank, 0)  # all on the same conversations
    few = replace(recipe, data={**recipe.data, "conversations": {"first": 9, "pair_opposite": 4}})
    chosen = select_conversations(few, bank, 0)
    assert Counter(row["source"] for row in chosen) == {"first": 9, "pair_opposite": 4}
    assert chosen == select_conversations(few, bank, 0) != select_conversations(few, bank, 1)


def test_conversations_are_written(tmp_path, capsys):
    file = tmp_path / "c.jsonl"
    assert main(["--kind", "conversations", "--output", str(file)]) == 0
    assert len(file.read_text().splitlines()) == 4994
    assert capsys.readouterr().out.startswith("4,994 conversations on 259 topics in ")
    with pytest.raises(SystemExit):
        main([])
    assert "--kind is required, one of turns, conversations" in capsys.readouterr().err
