"""Weights go the way of large files: announced, stored, verified, named in the commit; an interrupted one goes on."""

from __future__ import annotations

import hashlib

import pytest
from huggingface_hub import constants
from pref_lstm.hub_cards import Usage
from refused import refused
from tiny_hub import ADAPTER, CLASSIFIER, hub_pair

from pref_lstm.hub_pair import push_to_hub

WEIGHTS = {ADAPTER: "adapter_model.safetensors", CLASSIFIER: "model.safetensors"}


@pytest.fixture
def push(hub, hub_folders, monkeypatch):
    monkeypatch.setattr("pref_lstm.hub_pair.run_usage", lambda kind, folder, repo: Usage("print(1)\n", "1\n"))
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # between its own attempts
    return lambda: push_to_hub(*hub_pair(hub_folders))


def test_weights_are_stored_and_verified_before_the_commit_names_them(hub, push, hub_folders):
    push()
    for repo_id, folder in ((ADAPTER, "adapter"), (CLASSIFIER, "classifier")):
        weights = (hub_folders / folder / WEIGHTS[repo_id]).read_bytes()
        oid = hashlib.sha256(weights).hexdigest()
        own = [line for line in hub.requests if f"/{repo_id}/" in line or f"/{repo_id}." in line]
        assert [line for line in own if not line.startswith(("GET", "HEAD"))] == [
            f"POST /api/models/{repo_id}/preupload/main",
            f"POST /{repo_id}.git/info/lfs/objects/batch",
            f"PUT /storage/{repo_id}/{oid}",
            f"POST /{repo_id}.git/info/lfs/verify",
            f"POST /api/models/{repo_id}/commit/main",
        ]
        assert hub.repos[repo_id].files[WEIGHTS[repo_id]] == weights


@pytest.mark.parametrize("broken", [ADAPTER, CLASSIFIER])
def test_a_call_after_a_broken_transfer_of_the_weights_goes_on(hub, push, broken):
    hub.break_uploads[broken] = 100
    with pytest.raises(
        ValueError, match=rf"^The transfer to '{broken}' broke off \(\w+\)\. Run the same command again"
    ):
        push()
    assert hub.repos[broken].files == {}  # no commit names what has not arrived
    hub.break_uploads.clear()
    hub.requests.clear()
    push()
    sent = [line for line in hub.requests if line.startswith("PUT")]
    assert len(sent) == (1 if broken == ADAPTER else 2)  # the classifier, if it had arrived, is not sent again
    for repo_id, name in WEIGHTS.items():
        assert len(hub.repos[repo_id].commits) == 2 and hub.repos[repo_id].files[name]


def test_weights_that_have_arrived_are_not_sent_again_after_a_broken_commit(hub, push):
    hub.break_commits[ADAPTER] = 100
    with pytest.raises(ValueError, match=f"^The transfer to '{ADAPTER}' broke off"):
        push()
    hub.break_commits.clear()
    hub.requests.clear()
    push()
    assert [line for line in hub.requests if line.startswith("PUT")] == []
    assert hub.repos[ADAPTER].files[WEIGHTS[ADAPTER]]


def test_a_storage_that_loses_the_weights(hub, push, monkeypatch):
    """The Hub is asked whether all has come; without that no commit is made."""
    monkeypatch.setattr("fake_hub._Handler.verify", lambda self, *_: self.refuse(404, "", "the file has not arrived"))
    message = (
        f"The Hub must accept the files for '{CLASSIFIER}', but refused them: the file has not arrived. "
        "Mend what it names."
    )
    with refused(ValueError, message):
        push()
    assert hub.repos[CLASSIFIER].files == {}


def test_without_the_xet_storage_that_the_client_prefers(hub, push, monkeypatch):
    pytest.importorskip("hf_xet", reason="the client's Xet part is not installed")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    with pytest.raises(ValueError, match=f"'{CLASSIFIER}'"):
        push()
    assert hub.repos[CLASSIFIER].files == {}
