"""What leaves the computer: a model's own files. Users' memories, tokens and local paths never do."""

from __future__ import annotations

import json
import sqlite3

import pytest
import torch
from pref_lstm.modeling.memory_state import MemoryState
from refused import refused

from pref_lstm.published_files import copy_published, refuse_secrets

REFUSED = (
    "A folder to publish must hold no user's memory, but below 'model' there are: {}. "
    "Move them to another folder, and check that none was published before."
)


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "me/lm"}')
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (tmp_path / "target").mkdir()
    return folder


def copied(model):
    target = model.parent / "target"
    left_out = copy_published("adapter", model, target)
    return sorted(path.name for path in target.iterdir()), left_out


def write_state(path):
    path.write_bytes(MemoryState("slots", {"slots": torch.ones(1, 2, 3)}).to_bytes("abc"))


def write_database(path):
    with sqlite3.connect(path) as database:
        database.execute("create table turns (text)")
    database.close()


def test_only_the_models_own_files_are_copied(model):
    (model / "optimizer.pt").write_bytes(b"\x80\x04")
    (model / "evil.py").write_text("raise SystemExit")
    (model / "turns.arrow").write_bytes(b"")
    (model / "README.md").write_text("")
    assert copied(model) == (
        ["adapter_config.json", "adapter_model.safetensors"], ["evil.py", "optimizer.pt", "turns.arrow"],
    )  # fmt: skip


@pytest.mark.parametrize("place", ["anna@example.org.safetensors", "states/anna/latest.bin", ".hidden/adapter.json"])
def test_a_memory_state_is_refused_whatever_it_is_called(model, place):
    (model / place).parent.mkdir(parents=True, exist_ok=True)
    write_state(model / place)
    with refused(ValueError, REFUSED.format("1 x memory state")):
        copied(model)


def test_a_memory_state_in_place_of_the_weights_is_refused(model):
    write_state(model / "adapter_model.safetensors")
    with refused(ValueError, REFUSED.format("1 x memory state")):
        copied(model)


@pytest.mark.parametrize("place", ["memories.sqlite", "anna.bin", "old/users"])
def test_a_user_store_is_refused_whatever_it_is_called(model, place):
    (model / place).parent.mkdir(parents=True, exist_ok=True)
    write_database(model / place)
    with refused(ValueError, REFUSED.format("1 x SQLite database")):
        copied(model)


def test_what_a_database_leaves_beside_itself_is_refused(model):
    (model / "memories.sqlite-wal").write_bytes(b"what Anna said")
    write_state(model / "anna.safetensors")
    with refused(ValueError, REFUSED.format("1 x SQLite database, 1 x memory state")):
        copied(model)


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 64, (20).to_bytes(8, "little") + b"{not json}" * 9])
def test_other_files_are_no_memories(model, content):
    (model / "notes").write_bytes(content)
    assert copied(model)[1] == ["notes"]


def test_a_token_in_a_file_is_refused_and_not_repeated(model):
    (model / "README.md").write_text("run with HF_TOKEN=hf_" + "a1B2" * 8)
    with refused(
        ValueError,
        "'README.md' must hold no secret, but a Hub token stands in it. Take it out, and revoke the token.",
    ):
        refuse_secrets(model)


def test_the_token_that_is_logged_in_is_known_by_its_value(model, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "of-another-form")
    (model / "README.md").write_text("of-another-form")
    with pytest.raises(ValueError, match="a Hub token stands in it"):
        refuse_secrets(model)


@pytest.mark.parametrize("value", ["/somewhere/lm", "."])
def test_a_folder_of_this_computer_is_refused_and_not_repeated(model, value):
    (model / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": value}))
    with refused(
        ValueError,
        "`base_model_name_or_path` in 'adapter_config.json' must be a hub id, which everybody can load, got a folder "
        "of this computer. Write the hub id there.",
    ):
        refuse_secrets(model)
