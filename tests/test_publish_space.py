"""`pref-lstm publish --space`: a page on the Hub that loads the published pair and not the shipped one."""

from __future__ import annotations

import json
import platform
import runpy
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest
import torch
from fake_hub import Repo
from huggingface_hub import SpaceCard
from packaging.requirements import Requirement
from pref_lstm.hub_cards import SpaceFacts, Usage, write_space
from refused import refused
from tiny import TOLERANCE, make_lm, make_tokenizer
from tiny_hub import ADAPTER, CLASSIFIER

from pref_lstm import PrefLSTMForCausalLM, __version__
from pref_lstm.cli import main

SPACE, KEY = "tester/page", "spaces/tester/page"
FACTS = SpaceFacts(SPACE, ADAPTER, CLASSIFIER, "pref-lstm[app]==1.2.3")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """The cards' lines are not run, and a version of gradio is known where it is not installed."""
    monkeypatch.setattr("pref_lstm.hub_pair.run_usage", lambda kind, folder, repo: Usage("print(1)\n", "1\n"))
    monkeypatch.setattr(
        "pref_lstm.hub_cards.space.version", lambda name: "6.31.0" if name == "gradio" else metadata.version(name)
    )


@pytest.fixture
def publish(hub, hub_folders):
    def publish(*options):
        folders = ["--model", str(hub_folders / "adapter"), "--classifier", str(hub_folders / "classifier")]
        return main(["publish", ADAPTER, "--space", SPACE, *folders, *options])

    return publish


def card(hub):
    return SpaceCard(hub.repos[KEY].files["README.md"].decode())


def test_a_space_is_private_and_has_one_commit_with_what_it_runs_by(hub, publish, tmp_path):
    assert publish("--license", "mit", "--json", str(tmp_path / "shown.json")) == 0
    repo = hub.repos[KEY]
    assert repo.private
    assert set(repo.files) == {"README.md", "app.py", "requirements.txt"}
    [created, uploaded] = repo.commits[1:]  # the Hub's own, then this one
    assert list(created[1]) == ["README.md"]
    assert (
        card(hub).data.to_dict()
        == {
            "title": "Memory Page",  # as the Hub called it
            "emoji": "🌖",
            "colorFrom": "pink",
            "colorTo": "indigo",
            "pinned": False,
            "sdk": "gradio",
            "sdk_version": "6.31.0",
            "python_version": ".".join(platform.python_version_tuple()[:2]),
            "app_file": "app.py",
            "models": [ADAPTER, CLASSIFIER],
            "license": "mit",
            "short_description": "A frozen LM with a preference memory and without",
        }
    )
    assert "Check out the configuration reference" not in card(hub).text
    for repo_id in (ADAPTER, CLASSIFIER):
        assert f"](https://huggingface.co/{repo_id})" in card(hub).text
    shown = json.loads((tmp_path / "shown.json").read_text())["repositories"][2]
    assert shown["commit"] == uploaded[0] and shown["kind"] == "space"


def test_the_page_loads_the_published_pair_at_its_commit(hub, publish, hub_folders, tmp_path, monkeypatch):
    publish()
    commit = hub.repos[ADAPTER].commits[-1][0]
    config = json.loads(hub.repos[ADAPTER].files["adapter_config.json"])
    hub.repos[ADAPTER].add({"adapter_config.json": json.dumps({**config, "classifier_name_or_path": None}).encode()})
    hub.requests.clear()
    apps = []
    monkeypatch.setitem(sys.modules, "pref_lstm.app_page", SimpleNamespace(serve=apps.append))
    (tmp_path / "app.py").write_bytes(hub.repos[KEY].files["app.py"])
    runpy.run_path(str(tmp_path / "app.py"))
    assert apps == []  # importing it serves nothing
    runpy.run_path(str(tmp_path / "app.py"), run_name="__main__")
    [app] = apps
    local = PrefLSTMForCausalLM.from_pretrained(hub_folders / "adapter", lm=make_lm(), tokenizer=make_tokenizer())
    for name, tensor in app.model.memory.state_dict().items():
        torch.testing.assert_close(tensor, local.memory.state_dict()[name], **TOLERANCE)
    assert app.detector.threshold == 0.4 and not app.is_shared
    fetched = [line.split()[1] for line in hub.requests if line.startswith("GET") and "/resolve/" in line]
    assert f"/{ADAPTER}/resolve/{commit}/adapter_model.safetensors" in fetched
    assert any(path.startswith(f"/{CLASSIFIER}/resolve/") for path in fetched)


def test_it_installs_this_version_and_the_libraries_that_the_cards_name(hub, publish):
    publish()
    lines = hub.repos[KEY].files["requirements.txt"].decode().splitlines()
    assert lines[0] == f"pref-lstm[app]=={__version__}"
    pins = {Requirement(line).name: str(Requirement(line).specifier) for line in lines[1:]}
    assert pins.keys() == {"torch", "transformers", "peft", "sentence-transformers", "huggingface_hub"}
    for name, pin in pins.items():
        assert pin == "==" + metadata.version(name).partition("+")[0]


def test_another_place_to_install_from(hub, publish):
    publish("--space-package", "pref-lstm[app] @ git+https://example.org/pref-lstm@v1")
    assert hub.repos[KEY].files["requirements.txt"].decode().splitlines()[0] == (
        "pref-lstm[app] @ git+https://example.org/pref-lstm@v1"
    )


def test_a_second_call_sends_nothing_again_and_keeps_the_owners_look(hub, publish):
    publish()
    edited = card(hub)
    edited.data.title, edited.data.emoji = "Try it", "🐟"
    edited.text += "\n## Thanks\n\nTo my cat.\n"
    hub.repos[KEY].add({"README.md": str(edited).encode()})
    publish()
    publish()
    assert (card(hub).data.title, card(hub).data.emoji) == ("Try it", "🐟")
    assert card(hub).text.strip().endswith("## Thanks\n\nTo my cat.")
    assert len(hub.repos[KEY].commits) == 4


def test_a_call_after_a_broken_transfer_goes_on(hub, publish, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    hub.break_commits[KEY] = 100
    assert publish() == 2
    assert f"The transfer to '{SPACE}' broke off" in capsys.readouterr().err
    hub.break_commits.clear()
    assert publish() == 0
    assert [len(hub.repos[name].commits) for name in (ADAPTER, CLASSIFIER, KEY)] == [2, 2, 3]


def test_public_only_when_asked_for(hub, publish, capsys):
    publish("--public")
    assert not hub.repos[KEY].private
    assert "HF_TOKEN" not in capsys.readouterr().out


def test_a_space_that_is_public_already_stops_everything(hub, publish, capsys):
    hub.repos[KEY] = Repo(private=False)
    assert publish() == 2
    assert f"'{SPACE}' must be private, but it is public already" in capsys.readouterr().err
    assert hub.repos[ADAPTER].files == {} == hub.repos[CLASSIFIER].files


def test_a_dry_run_shows_its_files_and_sends_nothing(hub, publish, capsys):
    assert publish("--dry-run") == 0
    out = capsys.readouterr().out
    for text in ("│ app.py ", "sdk: gradio", "from pref_lstm.app import main", f"pref-lstm[app]=={__version__}",
                 "store one as the secret HF_TOKEN", "Nothing was sent."):  # fmt: skip
        assert text in out, text
    assert hub.requests == []


def test_a_memory_in_a_models_folder_stops_everything(hub, publish, tmp_path, capsys):
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    (tmp_path / "memories.sqlite").write_bytes(b"what Anna said")
    assert publish("--model", str(tmp_path)) == 2
    assert "must hold no user's memory" in capsys.readouterr().err
    assert hub.requests == []


def test_a_token_in_the_address_of_the_package_is_refused(hub, publish, capsys):
    assert publish("--space-package", "pref-lstm[app] @ git+https://me:hf_" + "a1B2" * 8 + "@example.org/x") == 2
    err = capsys.readouterr().err
    assert "'requirements.txt' must hold no secret" in err and "hf_" not in err
    assert hub.requests == []


def test_a_name_without_owner(capsys, publish):
    assert publish("--space", "page", "--dry-run") == 2
    assert "The space's repository must be written OWNER/NAME, got 'page'." in capsys.readouterr().err


def test_without_gradio(monkeypatch, tmp_path):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("pref_lstm.hub_cards.space.version", version)
    message = (
        "A Space must name a version of gradio, and none is installed. "
        "Install the one to run it on with `pip install 'pref-lstm[app]'`."
    )
    with refused(ImportError, message):
        write_space(tmp_path, FACTS)
