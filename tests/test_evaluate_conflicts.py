"""`pref-lstm evaluate-conflicts`: what a write did is read from the states around it, and rows say what is wrong."""

import json

import pytest
from pref_lstm.modeling.memory_state import MemoryState
from pref_lstm.modeling.turn import Turn
from pref_lstm.training.evaluate_conflicts import classify, evaluate_conflicts, outcomes, read_rows
from prefeval_folder import write_adapter
from tiny import make_model, make_turn_encoder

from pref_lstm.cli import main

ROWS = [
    {"first": "I love tea", "second": "I love tea", "relation": "same"},
    {"first": "I love cats", "second": "not cats", "relation": "reversed"},
    {"first": "I love jazz", "second": "I hate rain", "relation": "different"},
    {"first": "I love maps", "second": "not maps", "relation": "same"},
]

INSTEAD = "instead of same / reversed / different"


def put(state, row, slot, code):
    """The state with one slot of one row filled with `code`."""
    new = {name: tensor.clone() for name, tensor in state.tensors.items()}
    new["keys"][row, slot, 0], new["token_ids"][row, slot, 0] = code, code
    new["strengths"][row, slot] = 1.0
    new["writes"][row] += 1
    new["times"][row, slot] = new["writes"][row]
    return MemoryState(state.cell, new)


class ObedientModel:
    """A memory that holds whole texts in its slots: the same text changes nothing, `not …` replaces what is there."""

    def __init__(self):
        model = make_model()
        self.memory_config, self.initial_state = model.memory_config, model.initial_state

    def write(self, turns, state):
        for row, turn in enumerate(turns):
            code = sum(map(ord, turn.user))
            if code in state["token_ids"][row]:
                continue
            slot = 0 if turn.user.startswith("not") else int((state["strengths"][row] > 0).sum())
            state = put(state, row, slot, code)
        return state


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    return write_adapter(tmp_path_factory.mktemp("adapter"))


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_figures_count_what_the_memory_did(batch_size, monkeypatch):
    monkeypatch.setattr("pref_lstm.training.evaluate_conflicts._BATCH_SIZE", batch_size)
    figures = evaluate_conflicts(ObedientModel(), ROWS)
    none = {"same": 0, "reversed": 0, "different": 0}
    assert figures["confusion"] == {
        "same": none | {"same": 1, "reversed": 1}, "reversed": none | {"reversed": 1},
        "different": none | {"different": 1},
    }  # fmt: skip
    assert (figures["n"], figures["accuracy"]) == (4, 0.75)
    # Wilson's interval of 3 in 4, to the digits of Newcombe 1998 (method 3).
    assert (round(figures["accuracy_low"], 4), round(figures["accuracy_high"], 4)) == (0.3006, 0.9544)


def test_a_slot_lost_without_anything_new_counts_as_reversed():
    before = put(make_model().initial_state(), 0, 2, 7)
    lost = MemoryState(before.cell, {**before.tensors, "strengths": before["strengths"] * 0})
    assert outcomes(before, before) == ["same"]
    assert outcomes(before, lost) == ["reversed"]
    assert outcomes(before, put(before, 0, 2, 8)) == ["reversed"]
    assert outcomes(before, put(before, 0, 3, 8)) == ["different"]


def test_a_batch_of_pairs_is_what_each_pair_is_alone():
    model = make_model()
    model._encoder = make_turn_encoder()
    together = list(classify(model, ROWS))
    assert together == [outcome for row in ROWS for outcome in classify(model, [row])]
    state = model.write([Turn(ROWS[0]["first"])], model.initial_state())
    assert outcomes(state, model.write([Turn(ROWS[0]["second"])], state)) == together[:1]


def test_the_command_writes_what_it_prints(adapter, tmp_path, capsys):
    data, file = tmp_path / "pairs.jsonl", tmp_path / "out.json"
    data.write_text("\n\n".join(map(json.dumps, ROWS)) + "\n")
    assert main(["evaluate-conflicts", "--model", str(adapter), "--data", str(data), "--json", str(file)]) == 0
    figures = json.loads(file.read_text())
    assert list(figures) == ["n", "accuracy", "accuracy_low", "accuracy_high", "confusion"]
    assert sum(sum(counts.values()) for counts in figures["confusion"].values()) == figures["n"] == 4
    assert f"accuracy {figures['accuracy']:.3f} (" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("{", "no JSON (Expecting property name enclosed in double quotes)"),
        ("[]", "a list"),
        ('{"first": "a", "relation": "same"}', "no `second`"),
        ('{"first": "a", "second": " ", "relation": "same"}', "`second` = ' '"),
        ('{"first": 3, "second": "b", "relation": "same"}', "`first` = 3"),
        (
            '{"first": "a", "second": "b", "relation": "opposite"}',
            "`relation` = 'opposite' instead of same / reversed / different",
        ),
        ('{"first": "a", "second": "b", "relation": null}', f"`relation` = None {INSTEAD}"),
    ],
)
def test_malformed_rows_are_named(line, found, tmp_path, capsys):
    data = tmp_path / "pairs.jsonl"
    data.write_text(json.dumps(ROWS[0]) + "\n" + line + "\n")
    assert main(["evaluate-conflicts", "--data", str(data)]) == 2
    assert capsys.readouterr().err == (
        "pref-lstm evaluate-conflicts: pairs.jsonl, line 2: expected an object with `first`, `second`, `relation`, "
        f"got {found}. Mend the line.\n"
    )


def test_a_file_without_rows_is_refused(tmp_path):
    data = tmp_path / "pairs.jsonl"
    data.write_text("\n")
    with pytest.raises(
        ValueError, match=r"^pairs\.jsonl holds no pairs of turns\. Pass a JSONL file with one pair a line\.$"
    ):
        read_rows(data)


def test_a_memory_without_slots_is_refused():
    message = (
        r"^Conflicts are read from slots, got a memory of cell 'lstm', which blends all turns into one vector\. "
        r"Use an adapter of cell 'slots'\.$"
    )
    with pytest.raises(ValueError, match=message):
        list(classify(make_model(cell="lstm"), ROWS))
