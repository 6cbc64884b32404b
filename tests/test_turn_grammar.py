"""The generator of labelled turns: determinism, splits, near-duplicates, the LM's rewording."""

import json
import random
import re

import pytest
from datasets import Dataset
from pref_lstm.training import reword_turns as rewording
from pref_lstm.training import synthesize_turns as command
from pref_lstm.training.turn_grammar import (
    SyntheticTurn,
    TurnGrammar,
    load_families,
    load_topics,
    near_duplicate_key,
    split_items,
    write_turns,
)
from pref_lstm.training.turn_style import make_casual


@pytest.fixture(scope="module")
def turns():
    return command.synthesize_turns(200, 150)


def test_material_is_wide_enough():
    topics, families = load_topics(), load_families()
    assert len(topics) >= 90
    assert all(len(set(topic["things"])) == 8 for topic in topics)
    assert len({family["family"] for family in families}) == len(families) >= 30
    assert {family["preference"] for family in families} == {0, 1}


def test_sizes_and_balance(turns):
    counts = {split: (len(part), sum(part["preference"])) for split, part in turns.items()}
    assert counts == {"train": (280, 120), "validation": (35, 15), "test": (35, 15)}


def test_no_template_and_no_topic_is_in_two_splits(turns):
    for column in ("template", "topic"):
        seen = [set(part[column]) for part in turns.values()]
        assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]


def test_every_slot_and_alternative_is_resolved(turns):
    for part in turns.values():
        for text in [*part["user"], *part["agent"]]:
            assert not re.search(r"<\w+>|[{}|]", text.replace("||", "")), text
        assert all(user.strip() for user in part["user"])


def test_the_seed_decides():
    assert write_turns("test", 20, 20, seed=3) == write_turns("test", 20, 20, seed=3)
    assert write_turns("test", 20, 20, seed=3) != write_turns("test", 20, 20, seed=4)


def test_no_near_duplicates(turns):
    for part in turns.values():
        keys = [near_duplicate_key(SyntheticTurn(**row)) for row in part]
        assert len(set(keys)) == len(keys)


def test_near_duplicates_ignore_order_case_and_decoration():
    def key(user):
        return near_duplicate_key(SyntheticTurn("", user, 1, "f", "t", "p"))

    assert key("I love tea!") == key("tea, I LOVE... 😂")
    assert key("I looove tea") == key("i love tea")
    assert key("I love tea") != key("I love coffee")


def test_split_items_shares_out_everything():
    items = [f"item {number}" for number in range(25)]
    parts = split_items(items)
    assert sorted(item for part in parts.values() for item in part) == sorted(items)
    assert {name: len(part) for name, part in parts.items()} == {"test": 2, "validation": 2, "train": 21}


def test_casual_style_is_deterministic_and_keeps_the_thing():
    text = "I really love espresso, you know."
    assert make_casual(text, random.Random(5)) == make_casual(text, random.Random(5))
    assert len({make_casual(text, random.Random(seed)) for seed in range(30)}) > 15


def test_unknown_split():
    message = "`split` must be one of ('train', 'validation', 'test'), got 'dev'. Pass one of these names."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        TurnGrammar("dev")


def test_too_few_turns():
    message = "`with_preference` must be at least 10, so that each split gets a turn, got 3. Ask for more."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        command.synthesize_turns(20, 3)


def test_more_turns_than_the_grammar_has(monkeypatch):
    monkeypatch.setattr(TurnGrammar, "write", lambda self, preference: SyntheticTurn("", "hi", 0, "f", "t", "p"))
    message = (
        "The grammar's test split has no 2 different turns with `preference` = 0: 1 after 1100 attempts. "
        "Ask for fewer turns."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        write_turns("test", 2, 0)


def test_command_writes_files_and_card(tmp_path, capsys):
    command.main(["--output", str(tmp_path), "--without-preference", "20", "--with-preference", "10"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "README.md",
        "test.jsonl",
        "train.jsonl",
        "validation.jsonl",
    ]
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == 24
    card = (tmp_path / "README.md").read_text("utf-8")
    assert "| train | 24 | 16 | 8 |" in card and "None" not in card and "\n\n\n" not in card
    assert capsys.readouterr().out.endswith(f"30 turns in {tmp_path}\n")


class FakeGenerator:
    """Answers each chat from a table; counts its calls."""

    def __init__(self, answers):
        self.answers, self.calls = answers, 0

    def __call__(self, chats, **_):
        self.calls += 1
        users = [chat[0]["content"].split("Message: ")[1] for chat in chats]
        return [[{"generated_text": self.answers[user]}] for user in users]


def test_rewording_filters_and_resumes(tmp_path):
    turns = Dataset.from_dict({"user": ["I love espresso.", "I hate snow."], "preference": [1, 1]})
    generator = FakeGenerator(
        {"I love espresso.": '"Espresso is what I love."', "I hate snow.": "Here is the message: no"}
    )
    file = tmp_path / "done.jsonl"
    reworded = rewording.reword_turns(turns, generator, file, batch_size=1)
    assert reworded["user"][:] == ["Espresso is what I love.", "I hate snow."]
    assert reworded["reworded"][:] == [True, False]
    assert generator.calls == 2
    file.write_text(file.read_text("utf-8").splitlines()[0] + "\n", "utf-8")
    assert rewording.reword_turns(turns, generator, file, batch_size=1)["user"][:] == reworded["user"][:]
    assert generator.calls == 3


def test_rewording_refuses_another_run_s_progress(tmp_path):
    file = tmp_path / "done.jsonl"
    file.write_text('{"original": "other", "user": "other"}\n', "utf-8")
    message = (
        "`done.jsonl` holds 1 rewordings of other turns. Delete it, or ask for the same turns (numbers and seed) again."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        rewording.reword_turns(Dataset.from_dict({"user": ["mine"]}), FakeGenerator({}), file)


@pytest.mark.parametrize(
    ("original", "reworded", "usable"),
    [
        ("i hate snow", "Snow is what I hate.", True),
        ("i hate snow", "I hate snow!", False),
        ("i hate snow", "The new message is: snow, I hate it", False),
        ("pretend you fear snow", "I fear snow", False),
        ("i hate snow", "Many people hate snow", False),
        ("i hate snow", "I hate it", True),
        ("we usually get snow here", "we get rain", False),
        ("i hate snow", "", False),
    ],
)
def test_usable_rewordings(original, reworded, usable):
    assert rewording.is_usable(original, reworded) is usable
