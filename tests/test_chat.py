"""`pref-lstm chat`: a conversation at a terminal, looking into the memory, forgetting, and its picture."""

import json
import re
from datetime import datetime, timedelta, timezone

import pytest
import torch
from rich.console import Console
from tiny import KeywordDetector
from tiny_store import make_store_model

from pref_lstm import chat
from pref_lstm.inspection import age


@pytest.fixture
def talk(monkeypatch, tmp_path, capsys):
    """Types lines into a chat with one store; returns what was shown, in one line."""
    model = make_store_model(relation_threshold=1.0)  # turns only ever add
    with torch.no_grad():
        model.memory.cell.gate_threshold.fill_(-50.0)
    monkeypatch.setattr(chat, "load_default_model", lambda name: (model, True))
    model._detector = KeywordDetector()
    monkeypatch.setattr(chat, "Console", lambda: Console(width=200))

    def talk(*lines, arguments=()):
        rest = iter(lines)

        def type_line(self, prompt):
            if (line := next(rest, None)) is None:
                raise EOFError
            return line

        monkeypatch.setattr(Console, "input", type_line)
        assert (
            chat.main(["--user", "ada", "--store", str(tmp_path / "store"), "--max-new-tokens", "3", *arguments]) == 0
        )
        return " ".join(capsys.readouterr().out.split())

    return talk


def test_memory_lists_turn_age_slot_words_and_strength(talk):
    assert "Nothing is stored." in talk("/memory")
    shown = talk("I love green tea", "what should I cook", "I hate trains", "/memory")
    rows = re.findall(r"│ (\d+) │ ([^│]+) │ (\d+) s │ (\d+) │ ([^│]+) │ (\d\.\d\d) │", shown)
    assert [(turn, said, slot, strength) for turn, said, _, slot, _, strength in rows] == [
        ("1", "I love green tea", "0", "1.00"),
        ("2", "I hate trains", "1", "1.00"),
    ]
    assert all(words.strip() for *_, words, _ in rows)
    assert "what should I cook" not in shown.split("words it holds")[1]


def test_what_is_forgotten_is_gone_from_the_list_and_the_picture(talk, tmp_path):
    picture, log = tmp_path / "talk.png", tmp_path / "talk.json"
    shown = talk("I love tea", "I hate rain", "/forget 1", "/forget 7", "/forget x", "/memory", "/why",
                 arguments=["--json", str(log), "--plot", str(picture)])  # fmt: skip
    assert "Turn 1 is forgotten." in shown
    assert "`id` must be the number of one of the user's 1 turns" in shown
    assert "/forget needs the number of a turn" in shown
    assert "turn 2: weight 1.00" in shown
    assert "I love tea" not in shown.split("words it holds")[1]
    assert [row["written"] for row in json.loads(log.read_text())] == [True, True]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_picture_of_a_forgotten_turn_starts_anew(talk, monkeypatch):
    drawn = []
    monkeypatch.setattr("pref_lstm.trace_plot.plot_trace", lambda steps: drawn.append(list(steps)) or _NoFigure())
    talk("I love tea", "I hate rain", arguments=["--plot", "x.png"])
    talk("/forget 1", "I love cats", arguments=["--plot", "x.png"])
    assert [[step.said for step in steps] for steps in drawn] == [["I love tea", "I hate rain"], ["I love cats"]]
    assert [slot.index for slot in drawn[1][0].slots] == [0, 1]


class _NoFigure:
    def savefig(self, path, dpi):
        pass


@pytest.mark.parametrize(
    ("ago", "expected"),
    [(5, "5 s"), (-3, "0 s"), (61, "1 min"), (3599, "59 min"), (7300, "2 h"), (3 * 86400 + 5, "3 d")],
)
def test_age_is_in_its_largest_whole_unit(ago, expected):
    assert age(datetime.now(timezone.utc) - timedelta(seconds=ago)) == expected
