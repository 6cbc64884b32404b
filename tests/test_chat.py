"""`pref-lstm chat`: a conversation at a terminal, looking into the memory, forgetting, and its picture."""

import json
import re
from datetime import datetime, timedelta, timezone

import pytest
import torch
from refused import refused
from rich.console import Console
from tiny import KeywordDetector
from tiny_store import make_store_model, raw_bytes

from pref_lstm import chat
from pref_lstm.conversation_log import ConversationLog
from pref_lstm.inspection import age
from pref_lstm.session import ChatSession
from pref_lstm.store_database import StoreDatabase


@pytest.fixture
def talk(monkeypatch, tmp_path, capsys):
    """Types lines into a chat with one store; returns what was shown, in one line."""
    model = make_store_model(relation_threshold=1.0)  # turns only ever add
    with torch.no_grad():
        model.memory.cell.gate_threshold.fill_(-50.0)
    model._detector = KeywordDetector()
    monkeypatch.setattr(chat, "load_default_model", lambda name: (model, True))
    monkeypatch.setattr(chat, "Console", lambda: Console(width=200))

    def talk(*lines, arguments=()):
        rest = iter(lines)

        def type_line(self, prompt):
            line = next(rest, EOFError())
            if isinstance(line, BaseException):
                raise line
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
    assert "The memory did not act on the last answer." in shown  # the conversation is back at its start
    assert "I love tea" not in shown.split("words it holds")[1]
    assert json.loads(log.read_text()) == []
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_picture_of_a_forgotten_turn_starts_anew(talk, monkeypatch):
    drawn = []
    monkeypatch.setattr("pref_lstm.trace_plot.plot_trace", lambda steps: drawn.append(list(steps)) or _NoFigure())
    talk("I love tea", "I hate rain", arguments=["--plot", "x.png"])
    talk("/forget 1", "I love cats", arguments=["--plot", "x.png"])
    assert [[step.said for step in steps] for steps in drawn] == [["I love tea", "I hate rain"], ["I love cats"]]
    assert [slot.index for slot in drawn[1][0].slots] == [0, 1]


@pytest.fixture
def sessions(monkeypatch):
    """The chats' sessions, in order."""
    made = []
    monkeypatch.setattr(
        chat, "ChatSession", lambda *args, **kwargs: made.append(ChatSession(*args, **kwargs)) or made[-1]
    )
    return made


def test_what_is_forgotten_is_gone_from_the_conversation_and_the_log(talk, sessions, tmp_path):
    log = tmp_path / "talk.json"
    shown = talk("what should I cook", "I love tea zqx1", "I hate rain zqx2", "/forget 2", "/why", "I love cats zqx3",
                 arguments=["--json", str(log)])  # fmt: skip
    assert "Turn 2 is forgotten. The conversation goes back to before it." in shown
    assert "turn 1: weight 1.00" in shown
    said = ["what should I cook", "I love tea zqx1", "I love cats zqx3"]
    assert [message.content for message in sessions[0].messages if message.role == "user"] == said
    rows = json.loads(log.read_text())
    assert [row["user"] for row in rows] == said
    assert [row["agent"] for row in rows] == [m.content for m in sessions[0].messages if m.role == "assistant"]
    assert b"zqx1" in raw_bytes(log) and b"zqx2" not in raw_bytes(log)
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["talk.json"]


def test_of_what_was_said_after_a_forgotten_turn_nothing_stays(talk, sessions, tmp_path):
    """Also of a turn that is forgotten later, whose own exchange is gone already."""
    log = tmp_path / "talk.json"
    talk("I love tea zqx1", "I hate rain zqx2", "/forget 1", "what now", "/forget 2", arguments=["--json", str(log)])
    assert sessions[0].messages == [] and json.loads(log.read_text()) == []


def test_what_an_earlier_run_wrote_is_overwritten_when_it_is_forgotten(talk, tmp_path, monkeypatch):
    log, seen = tmp_path / "talk.json", []
    link = tmp_path / "link.json"
    link.symlink_to(log)
    talk("I love tea zqx1", "I hate rain", arguments=["--json", str(link)])
    assert b"zqx1" in raw_bytes(log)
    write = ConversationLog.write
    monkeypatch.setattr(ConversationLog, "write", lambda self: write(self) or seen.append(log.read_bytes()))
    talk("what now", "/forget 1", arguments=["--json", str(link)])
    assert seen == [b"[]\n", b"[]\n"] and link.is_symlink()  # at once, not only when the run ends


def test_an_answer_after_forgetting_is_that_of_a_conversation_that_never_had_it(talk, sessions):
    talk("what should I cook", "I love tea", "/forget 1", "I love tea", "what now")
    talk("/forget 2", "what should I cook", "I love tea", "what now")
    first, second = ([message.content for message in session.messages] for session in sessions)
    assert first == second and len(first) == 6


def test_ctrl_c_leaves_a_log_and_a_conversation_that_goes_on(talk, sessions, tmp_path, monkeypatch):
    log, answer = tmp_path / "talk.json", ChatSession.answer

    def interrupted(self, text, on_text):
        if "zqx" in text:
            raise KeyboardInterrupt
        return answer(self, text, on_text)

    monkeypatch.setattr(ChatSession, "answer", interrupted)
    shown = talk("I love tea zqx1", "what now", "/forget 1", "what then", arguments=["--json", str(log)])
    assert "interrupted; /memory shows what is stored" in shown
    assert [row["user"] for row in json.loads(log.read_text())] == ["what then"]
    with pytest.raises(KeyboardInterrupt):
        talk("what now", KeyboardInterrupt(), arguments=["--json", str(log)])
    assert [row["user"] for row in json.loads(log.read_text())] == ["what now"]


@pytest.mark.parametrize("error", [TimeoutError("another connection kept reading"), KeyboardInterrupt()])
def test_a_store_that_fails_after_deleting_leaves_nothing_in_the_conversation(
    talk, sessions, tmp_path, monkeypatch, error
):
    log = tmp_path / "talk.json"

    def busy(self):
        raise error

    monkeypatch.setattr(StoreDatabase, "clear_log", busy)
    shown = talk("I love tea zqx1", "/forget 1", "/why", arguments=["--json", str(log)])
    assert (str(error) or "interrupted") in shown and "is forgotten" not in shown
    assert sessions[0].messages == [] and b"zqx1" not in raw_bytes(log)
    assert int(sessions[0].state["writes"]) == 0


def test_a_line_that_fails_ends_no_conversation(talk, tmp_path, monkeypatch):
    vector = make_store_model("lstm")
    vector._detector = KeywordDetector()
    log = tmp_path / "talk.json"
    monkeypatch.setattr(chat, "load_default_model", lambda name: (vector, True))
    lines = ["I love tea \udcff", "/why", "/forget\t7", "/forget " + "9" * 5000, "/forgt 1", "", "I love tea", "/why"]
    shown = talk(*lines, arguments=["--json", str(log)])
    assert "`turn.user` must be Unicode text" in shown
    assert "The memory did not act on the last answer." in shown
    assert "got another one. `history(user)` lists them." in shown
    assert "Exceeds the limit" in shown and "/forget N: erase turn N" in shown
    assert "`why` needs a memory with slots" in shown
    assert [row["user"] for row in json.loads(log.read_text())] == ["I love tea"]


def test_memory_lists_what_no_slot_holds_any_more_and_it_can_be_forgotten(talk, tmp_path, monkeypatch):
    model = make_store_model(relation_threshold=1.0, num_slots=1)
    model._detector = KeywordDetector()
    monkeypatch.setattr(chat, "load_default_model", lambda name: (model, True))
    shown = talk("I love tea zqx1", "I hate long rain", "/memory")
    assert re.search(r"│ 1 │ I love tea zqx1 +│ \d+ s │ - +│ - +│ - +│", shown)
    assert "Turn 1 is forgotten." in talk("/forget 1")
    assert b"zqx1" not in raw_bytes(tmp_path / "store" / "memories.sqlite")


def test_a_memory_of_another_adapter_is_refused_at_once_and_can_be_rebuilt(talk, monkeypatch):
    talk("I love tea", "I hate rain")
    other = make_store_model(seed=7)
    other._detector = KeywordDetector()
    monkeypatch.setattr(chat, "load_default_model", lambda name: (other, True))
    with pytest.raises(ValueError, match="must be one that this adapter made"):
        talk("what now")
    assert "I hate rain" in talk("/memory", arguments=["--rebuild"])
    assert "I hate rain" in talk("/memory")


def test_a_user_that_can_have_no_memory_is_refused_before_anything_is_said(talk):
    with refused(ValueError, "`user` must have 1 to 256 characters, got 0."):
        talk("I love tea", arguments=["--user", ""])


def test_a_log_without_a_folder_is_refused_before_anything_is_said(talk, tmp_path):
    log = tmp_path / "no" / "talk.json"
    with refused(FileNotFoundError, f"'{log}' must be in a folder that exists. Make '{log.parent}' first."):
        talk("I love tea", arguments=["--json", str(log)])
    assert not (tmp_path / "store").exists()


class _NoFigure:
    def savefig(self, path, dpi):
        pass


@pytest.mark.parametrize(
    ("ago", "expected"),
    [(5, "5 s"), (-3, "0 s"), (61, "1 min"), (3599, "59 min"), (7300, "2 h"), (3 * 86400 + 5, "3 d")],
)
def test_age_is_in_its_largest_whole_unit(ago, expected):
    assert age(datetime.now(timezone.utc) - timedelta(seconds=ago)) == expected
