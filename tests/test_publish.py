"""`pref-lstm publish` and `push_to_hub` against a fake Hub: what is sent, what is refused, what a second call does."""

from __future__ import annotations

import json
import shutil

import pytest
from fake_hub import TOKEN, Repo
from huggingface_hub import ModelCard
from pref_lstm.hub_cards import Usage
from refused import refused
from tiny_hub import ADAPTER, CLASSIFIER, LM, hub_pair

from pref_lstm.cli import main
from pref_lstm.hub_pair import push_to_hub

ADAPTER_FILES = ["README.md", "adapter_config.json", "adapter_model.safetensors"]
CLASSIFIER_FILES = ["README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


@pytest.fixture
def quick(monkeypatch):
    """For tests of the transfer: the cards' lines are not run."""
    monkeypatch.setattr("pref_lstm.hub_pair.run_usage", lambda kind, folder, repo: Usage("print(1)\n", "1\n"))


@pytest.fixture
def push(quick, hub, hub_folders):
    return lambda **options: push_to_hub(*hub_pair(hub_folders), **options)


def command(folder, *options):
    folders = ["--model", str(folder / "adapter"), "--classifier", str(folder / "classifier")]
    return main(["publish", ADAPTER, *folders, *options])


def config(hub):
    return json.loads(hub.repos[ADAPTER].files["adapter_config.json"])


def test_both_repositories_are_private_have_one_commit_and_name_each_other(hub, push):
    adapter, classifier = push()
    for repo_id, commit, files in ((ADAPTER, adapter, ADAPTER_FILES), (CLASSIFIER, classifier, CLASSIFIER_FILES)):
        repo = hub.repos[repo_id]
        assert repo.private
        assert [sha for sha, _ in repo.commits[1:]] == [commit]
        assert sorted(repo.files) == files
    assert config(hub)["classifier_name_or_path"] == CLASSIFIER
    assert config(hub)["classifier_revision"] == classifier
    assert f"](https://huggingface.co/{CLASSIFIER})" in hub.repos[ADAPTER].files["README.md"].decode()
    assert f"](https://huggingface.co/{ADAPTER})" in hub.repos[CLASSIFIER].files["README.md"].decode()


def test_the_models_own_folders_stay_as_they_are(hub_folders, push):
    def content():
        return {p: p.read_bytes() for name in ("adapter", "classifier") for p in (hub_folders / name).iterdir()}

    before = content()
    push()
    assert content() == before


def test_a_second_call_sends_nothing_again(hub, push):
    first = push()
    assert push() == first
    assert len(hub.repos[ADAPTER].commits) == len(hub.repos[CLASSIFIER].commits) == 2


@pytest.mark.parametrize("broken", [ADAPTER, CLASSIFIER])
def test_a_call_after_a_broken_transfer_goes_on(hub, push, broken, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # between its own attempts
    hub.break_commits[broken] = 100
    with pytest.raises(
        ValueError, match=rf"^The transfer to '{broken}' broke off \(\w+\)\. Run the same command again"
    ):
        push()
    hub.break_commits.clear()
    push()
    for repo_id in (ADAPTER, CLASSIFIER):
        assert len(hub.repos[repo_id].commits) == 2
    assert config(hub)["classifier_revision"] == hub.repos[CLASSIFIER].commits[-1][0]


def test_an_edited_card_on_the_hub_is_updated(hub, push):
    push()
    card = ModelCard(hub.repos[ADAPTER].files["README.md"].decode())
    card.data.license, card.data.tags = "mit", [*card.data.tags, "mine"]
    card.text = "# Called something else\n\n" + card.text + "\n## Thanks\n\nTo my cat.\n"
    hub.repos[ADAPTER].add({"README.md": str(card).replace("6 soft tokens", "600 soft tokens").encode()})
    push()
    updated = ModelCard(hub.repos[ADAPTER].files["README.md"].decode())
    assert updated.data.license == "mit" and "mine" in updated.data.tags
    assert updated.text.strip().startswith("# Called something else")
    assert updated.text.strip().endswith("## Thanks\n\nTo my cat.")
    assert "6 soft tokens" in updated.text and "600 soft tokens" not in updated.text


def test_public_only_when_asked_for(hub, push):
    push(private=False)
    assert not hub.repos[ADAPTER].private and not hub.repos[CLASSIFIER].private


def test_a_repository_that_is_public_already_is_refused(hub, push):
    hub.repos[ADAPTER] = Repo(private=False)
    message = (
        f"'{ADAPTER}' must be private, but it is public already: what is uploaded can be read by everybody. "
        "Pass `--public` if that is meant."
    )
    with refused(ValueError, message):
        push()
    assert hub.repos[ADAPTER].files == {} == hub.repos[CLASSIFIER].files


@pytest.mark.parametrize(("token", "came"), [("hf_" + "wrong" * 7, "it was refused (401)"), (None, "there is none")])
def test_without_the_right_token_nothing_is_created(hub, push, monkeypatch, token, came):
    monkeypatch.delenv("HF_TOKEN")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    repos = set(hub.repos)
    message = (
        f"Publishing to '{CLASSIFIER}' needs a token with the right to write there, but {came}. "
        "Log in with `hf auth login`, or mend `HF_TOKEN`."
    )
    with refused(PermissionError, message):
        push()
    assert set(hub.repos) == repos


def test_a_card_that_the_hub_refuses(hub, push, monkeypatch):
    monkeypatch.setattr("fake_hub.card_errors", lambda content, kind: ["license must be known"])
    message = (
        f"The Hub must accept the files for '{CLASSIFIER}', but refused them: "
        "Invalid metadata in README.md. - license must be known. Mend what it names."
    )
    with refused(ValueError, message):
        push()


def test_a_name_without_owner(capsys):
    assert main(["publish", "memory", "--dry-run"]) == 2
    assert capsys.readouterr().err == (
        "pref-lstm publish: The adapter's repository must be written OWNER/NAME, got 'memory'. "
        "OWNER is you or an organisation of yours on the Hub.\n"
    )


def test_offline(push, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    message = f"Publishing to '{CLASSIFIER}' needs the Hub, but `HF_HUB_OFFLINE` is set. Unset it."
    with refused(ValueError, message):
        push()


def test_the_command_publishes_and_reports_without_the_token(hub, quick, hub_folders, tmp_path, capfd, caplog):
    report = tmp_path / "publish.json"
    assert command(hub_folders, "--license", "mit", "--json", str(report)) == 0
    shown = json.loads(report.read_text())
    assert shown["private"] and not shown["dry_run"]
    assert [row["commit"] for row in shown["repositories"]] == [
        hub.repos[ADAPTER].commits[-1][0], hub.repos[CLASSIFIER].commits[-1][0],
    ]  # fmt: skip
    assert list(shown["repositories"][0]["files"]) == ADAPTER_FILES
    assert ModelCard(hub.repos[ADAPTER].files["README.md"].decode()).data.license == "mit"
    out, err = capfd.readouterr()
    sent = b"".join(data for repo in hub.repos.values() for data in repo.files.values())
    for text in (out, err, caplog.text, report.read_text(), sent.decode(errors="replace")):
        assert TOKEN not in text


def test_a_dry_run_shows_files_and_cards_and_sends_nothing(hub, quick, hub_folders, tmp_path, capsys):
    folder = shutil.copytree(hub_folders, tmp_path / "run")
    (folder / "adapter" / "training_args.bin").write_bytes(b"pickled")
    (folder / "adapter" / "checkpoint-3").mkdir()
    assert command(folder, "--dry-run") == 0
    out = capsys.readouterr().out
    for name in ADAPTER_FILES + CLASSIFIER_FILES:
        assert f"│ {name} " in out
    assert "left out: checkpoint-3, training_args.bin" in out
    assert "base_model: tester/tiny-llama" in out and "Nothing was sent." in out
    assert hub.requests == []


def test_a_folder_without_a_model(hub_folders, tmp_path, capsys):
    assert main(["publish", ADAPTER, "--model", str(tmp_path), "--dry-run"]) == 2
    assert capsys.readouterr().err == (
        f"pref-lstm publish: Expected a saved adapter with `adapter_config.json`, found none in '{tmp_path}'. "
        "Pass the folder that `save_pretrained` wrote.\n"
    )


def test_a_memory_in_the_folder_stops_everything(hub, quick, hub_folders, tmp_path, capsys):
    folder = shutil.copytree(hub_folders, tmp_path / "run")
    (folder / "classifier" / "memories.sqlite").write_bytes(b"what Anna said")
    assert command(folder) == 2
    assert "must hold no user's memory" in capsys.readouterr().err
    assert hub.requests == []


def test_results_reach_card_and_picture(hub, quick, hub_folders, tmp_path):
    row = {"method": "memory", "num_preferences": 1, "num_turns": 0, "tokens_read": 6.0, "recovery": 0.5}
    row |= {"recovery_low": 0.4, "recovery_high": 0.6}
    report = {"lm": LM, "num_soft_tokens": 6, "n": 7, "seed": 1, "trained": True, "results": [row]}
    (tmp_path / "m.json").write_text(json.dumps(report))
    (tmp_path / "c.json").write_text(json.dumps({"n": 9, "accuracy": 0.75, "threshold": 0.4}))
    results = ["--results", str(tmp_path / "m.json"), "--classifier-results", str(tmp_path / "c.json")]
    assert command(hub_folders, *results) == 0
    assert hub.repos[ADAPTER].files["results.png"].startswith(b"\x89PNG")
    text = hub.repos[ADAPTER].files["README.md"].decode()
    assert "](results.png)" in text and "| 0.50 | 0.40 to 0.60 | 7 |" in text
    assert "| accuracy | classifier | 0.75 | 9 |" in hub.repos[CLASSIFIER].files["README.md"].decode()


def test_results_that_are_no_json(hub_folders, tmp_path, capsys):
    results = tmp_path / "memory.json"
    results.write_text("{")
    assert command(hub_folders, "--results", str(results), "--dry-run") == 2
    assert f"pref-lstm publish: '{results}' must be JSON, but line 1 is not: " in capsys.readouterr().err


def test_results_that_are_not_there(tmp_path, capsys):
    results = tmp_path / "memory.json"
    assert main(["publish", ADAPTER, "--results", str(results), "--dry-run"]) == 2
    assert capsys.readouterr().err == (
        f"pref-lstm publish: Expected results in '{results}', found no such file. The evaluation writes it: `--json`.\n"
    )


def test_the_models_own_method_is_private_too(hub, hub_folders):
    from pref_lstm import PrefLSTMForCausalLM

    model = PrefLSTMForCausalLM.from_pretrained(hub_folders / "adapter")
    model.push_to_hub("tester/plain")
    assert hub.repos["tester/plain"].private
    assert sorted(hub.repos["tester/plain"].files) == ADAPTER_FILES
