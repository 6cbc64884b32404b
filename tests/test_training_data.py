"""The bank, and the conversations made of it: counts, determinism."""

import pytest
from pref_lstm.training.bank import load_bank
from pref_lstm.training.conversations import bank_conversations
from pref_lstm.training.recipe import load_recipe, recipe_names
from pref_lstm.training.synthesize import main
from pref_lstm.training.synthesize_conversations import select_conversations


def test_bank_holds_what_the_documents_say():
    bank = load_bank()
    pairs = [p for p in bank.preferences if p.different]
    assert (len(bank.preferences), len(pairs), len(bank.topics)) == (1897, 917, 98)
    assert {p.topic for p in bank.preferences if not p.different} == {t.topic for t in bank.topics}
    assert all(len(t.things) == 20 and len(t.questions) == 8 for t in bank.topics)
    assert all(len(p.questions) == 3 and len(p.answers) in (1, 2) for p in bank.preferences)


def test_every_answer_is_one_conversation():
    rows = bank_conversations(load_bank().preferences)
    assert len(rows) == 3 * 980 + 2 * 917
    assert all(row["forms"] and row["statement"] and row["answer"] for row in rows)


@pytest.mark.parametrize("name", [name for name in recipe_names() if name != "paper"])
def test_selection_is_fixed_by_the_seed(name):
    bank, data = load_bank(), load_recipe(name).data
    chosen = select_conversations(bank, data["distilled"] | data["openings"], 0)
    assert len(chosen) == sum(data["distilled"].values()) + sum(data["openings"].values())
    assert chosen == select_conversations(bank, data["distilled"] | data["openings"], 0)
    some = [select_conversations(bank, {"first": 10}, seed) for seed in (0, 1)]
    assert some[0] != some[1]


def test_conversations_are_written(tmp_path, capsys):
    file = tmp_path / "c.jsonl"
    assert main(["--kind", "conversations", "--output", str(file)]) == 0
    rows = len(file.read_text().splitlines())
    assert rows == 2 * 980 + 2 * 917
    assert capsys.readouterr().out.startswith(f"{rows:,} conversations on ")
    with pytest.raises(SystemExit):
        main([])
    assert "--kind is required, one of turns, conversations" in capsys.readouterr().err
