"""The bank, and the conversations made of it: counts, determinism."""

from collections import Counter
from dataclasses import replace

import pytest
from pref_lstm.modeling.turn import Turn
from pref_lstm.training.bank import load_bank
from pref_lstm.training.conversations import bank_conversations
from pref_lstm.training.recipe import load_recipe, recipe_names
from pref_lstm.training.synthesize import main
from pref_lstm.training.synthesize_conversations import select_conversations


def test_bank_holds_what_the_documents_say():
    bank = load_bank()
    first, second = bank.preferences[:980], bank.preferences[980:]
    assert (len(bank.preferences), len(bank.topics)) == (1897, 98)
    assert {p.topic for p in first} == {t.topic for t in bank.topics}
    assert all(len(t.things) == 20 and len(t.questions) == 8 for t in bank.topics)
    assert all(len(p.questions) == 3 for p in bank.preferences)
    assert all(len(p.answers) == 2 and len(p.forms) == 3 and p.different is None for p in first)
    assert all(len(p.answers) == 1 and len(p.forms) == 2 and p.different for p in second)
    statements = {p.forms[0] for p in bank.preferences} | {Turn(p.opposite) for p in bank.preferences}
    assert len(statements) == 2 * 1897


def test_every_answer_is_one_conversation():
    rows = bank_conversations(load_bank().preferences)
    assert len(rows) == 3 * 980 + 2 * 917
    assert all(row["forms"] and row["statement"] and row["answer"] for row in rows)


@pytest.mark.parametrize("name", [name for name in recipe_names() if name != "paper"])
def test_selection_is_fixed_by_the_seed(name):
    bank, recipe = load_bank(), load_recipe(name)
    chosen = select_conversations(bank, recipe, 0)
    assert len(chosen) == sum(recipe.data["conversations"].values())
    few = replace(recipe, data={**recipe.data, "conversations": {"first": 9, "pair_opposite": 4}})
    chosen = select_conversations(bank, few, 0)
    assert Counter(row["source"] for row in chosen) == {"first": 9, "pair_opposite": 4}
    assert chosen == select_conversations(bank, few, 0) != select_conversations(bank, few, 1)


def test_conversations_are_written(tmp_path, capsys):
    file = tmp_path / "c.jsonl"
    assert main(["--kind", "conversations", "--output", str(file)]) == 0
    assert len(file.read_text().splitlines()) == 1960
    assert capsys.readouterr().out.startswith("1,960 conversations on 98 topics in ")
    with pytest.raises(SystemExit):
        main([])
    assert "--kind is required, one of turns, conversations" in capsys.readouterr().err
