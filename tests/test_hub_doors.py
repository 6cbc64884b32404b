"""A published pair, opened again through every door; what is damaged, missing or hostile is refused."""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
import subprocess
import sys

import pytest
import torch
from fake_hub import TOKEN
from huggingface_hub import ModelCard, constants
from peft import AutoPeftModelForCausalLM, PeftModel
from pref_lstm.hub_cards import run_usage
from refused import refused
from tiny import TOLERANCE, make_lm, make_tokenizer
from tiny_hub import ADAPTER, CLASSIFIER, LM, fill_hub, hub_pair
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, pipeline

from pref_lstm import PrefLSTMForCausalLM, Turn, load_language_model
from pref_lstm.hub_pair import push_to_hub

TURNS = [Turn("I love green tea."), Turn("what is the plan?", "hello")]


@pytest.fixture(scope="session")
def published(hub_server, hub_folders, tmp_path_factory):
    """The repositories of a pair that was really published, cards' lines run."""
    with pytest.MonkeyPatch.context() as patch:
        hub_server.reset()
        fill_hub(hub_server, hub_folders)
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        patch.setattr(constants, "HF_HUB_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_TOKEN", TOKEN)
        push_to_hub(*hub_pair(hub_folders), license="apache-2.0")
        return copy.deepcopy(hub_server.repos)


@pytest.fixture
def pair(published, hub):
    """The fake Hub with that pair on it."""
    hub.repos.update(copy.deepcopy(published))
    return hub


@pytest.fixture
def local(hub_folders):
    """The same adapter, from its folder."""
    return PrefLSTMForCausalLM.from_pretrained(hub_folders / "adapter", lm=make_lm(), tokenizer=make_tokenizer())


def change(hub, repo_id, **changes):
    """One more commit to a repository."""
    return hub.repos[repo_id].add({name.replace("__", "."): data for name, data in changes.items()})


def assert_same_memory(memory, expected):
    actual, expected = memory.state_dict(), expected.state_dict()
    assert actual.keys() == expected.keys()
    for name, tensor in actual.items():
        torch.testing.assert_close(tensor, expected[name], **TOLERANCE)


def test_one_call_brings_lm_memory_encoder_and_detector(pair, local):
    model = PrefLSTMForCausalLM.from_pretrained(ADAPTER)
    assert_same_memory(model.memory, local.memory)
    ids = torch.tensor([[2, 27, 44, 30]])
    torch.testing.assert_close(model(input_ids=ids).logits, local(input_ids=ids).logits, **TOLERANCE)
    assert model.write([TURNS[0]], model.initial_state()).batch_size == 1
    assert model.detector.threshold == 0.4
    assert model.detector is model.detector
    assert len(model.detector.detect(TURNS)) == 2


DOORS = {
    "PeftModel": lambda: PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(LM), ADAPTER),
    "PeftModel, resolved LM": lambda: PeftModel.from_pretrained(make_lm(), ADAPTER),
    "AutoPeftModelForCausalLM": lambda: AutoPeftModelForCausalLM.from_pretrained(ADAPTER),
}


@pytest.mark.parametrize("door", DOORS)
def test_pefts_doors_bring_the_same_memory(pair, local, door):
    model = DOORS[door]()
    assert_same_memory(model.base_model.memory, local.memory)


def test_transformers_doors_bring_the_same_classifier(pair, local):
    detector = PrefLSTMForCausalLM.from_pretrained(ADAPTER).detector
    model = AutoModelForSequenceClassification.from_pretrained(CLASSIFIER)
    for name, tensor in model.named_parameters():
        torch.testing.assert_close(tensor, detector.model.get_parameter(name), **TOLERANCE)
    classify = pipeline("text-classification", CLASSIFIER)
    for turn in TURNS:
        [row] = classify([{"text": turn.agent, "text_pair": turn.user}], top_k=None)
        scores = {found["label"]: found["score"] for found in row}
        [detection] = detector.detect([turn])
        assert scores["preference"] == pytest.approx(detection.probability, abs=1e-4)


def test_the_cards_lines_print_from_the_hub_what_the_cards_say(pair):
    for kind, repo_id in (("adapter", ADAPTER), ("classifier", CLASSIFIER)):
        text = ModelCard(pair.repos[repo_id].files["README.md"].decode()).text
        code, output = re.search(
            r"```python\n(.*?)```.*?They printed:\n\n```text\n(.*?)\n```", text, re.DOTALL
        ).groups()
        usage = run_usage(kind, repo_id, repo_id)
        assert usage.code == code
        assert usage.output.strip() == output.strip()


def test_every_link_of_the_published_cards_leads_somewhere(pair):
    for repo_id in (ADAPTER, CLASSIFIER):
        links = re.findall(r"\]\(([^)]*)\)", pair.repos[repo_id].files["README.md"].decode())
        assert links
        for link in links:
            assert link in pair.repos[repo_id].files or link.removeprefix("https://huggingface.co/") in pair.repos


def test_three_lines_in_a_fresh_process_answer_with_memory(pair, tmp_path):
    code = (
        "from pref_lstm import ChatSession, PrefLSTMForCausalLM\n"
        f"model = PrefLSTMForCausalLM.from_pretrained('{ADAPTER}')\n"
        "print(ChatSession(model, model.detector, max_new_tokens=3).answer('what tea').text)"
    )
    env = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert TOKEN not in done.stdout + done.stderr


# --- revisions


def test_a_revision_pins_the_adapter_and_its_classifier(pair):
    first = pair.repos[ADAPTER].commits[-1][0]
    config = json.loads(pair.repos[CLASSIFIER].files["config.json"])
    later = change(pair, CLASSIFIER, config__json=json.dumps({**config, "threshold": 0.9}).encode())
    config = json.loads(pair.repos[ADAPTER].files["adapter_config.json"])
    config |= {"classifier_revision": later, "relation_threshold": 0.5}
    change(pair, ADAPTER, adapter_config__json=json.dumps(config).encode())
    for revision, threshold, relation in ((first, 0.4, -1.0), ("main", 0.9, 0.5), (None, 0.9, 0.5)):
        model = PrefLSTMForCausalLM.from_pretrained(ADAPTER, revision=revision)
        assert model.memory_config.relation_threshold == relation
        assert model.detector.threshold == threshold


def test_the_lm_is_loaded_at_the_revision_that_the_adapter_names(pair):
    trained_on = pair.repos[LM].commits[-1][0]
    config = json.loads(pair.repos[ADAPTER].files["adapter_config.json"])
    change(pair, ADAPTER, adapter_config__json=json.dumps({**config, "revision": trained_on}).encode())
    lm_config = json.loads(pair.repos[LM].files["config.json"])
    change(pair, LM, config__json=json.dumps({**lm_config, "rms_norm_eps": 0.5}).encode())
    lm = PrefLSTMForCausalLM.from_pretrained(ADAPTER).language_model.get_base_model()
    assert lm.config.rms_norm_eps == lm_config["rms_norm_eps"]


def test_an_adapter_made_on_the_hubs_lm_notes_its_revision(pair):
    model = PrefLSTMForCausalLM.from_language_model(*load_language_model(LM))
    assert model.memory_config.revision == pair.repos[LM].commits[-1][0]
    assert "_commit_hash" not in model.language_model.get_base_model().config.to_dict()


def test_an_unknown_revision(pair):
    message = (
        f"Expected a folder or a hub id of an adapter, got '{ADAPTER}': there is no such folder, and the Hub shows no "
        "such revision 'v9'. Check the name; if it is private, log in with `hf auth login`."
    )
    with refused(FileNotFoundError, message):
        PrefLSTMForCausalLM.from_pretrained(ADAPTER, revision="v9")


# --- what is missing or refused


def test_a_missing_repository_and_a_private_one_look_the_same(pair, monkeypatch):
    message = (
        "Expected a folder or a hub id of an adapter, got '{}': there is no such folder, and the Hub shows no such "
        "repository. Check the name; if it is private, log in with `hf auth login`."
    )
    with refused(FileNotFoundError, message.format("tester/nothing")):
        PrefLSTMForCausalLM.from_pretrained("tester/nothing")
    with refused(FileNotFoundError, message.format("/no/such/folder")):
        PrefLSTMForCausalLM.from_pretrained("/no/such/folder")
    monkeypatch.delenv("HF_TOKEN")
    with refused(FileNotFoundError, message.format(ADAPTER)):
        PrefLSTMForCausalLM.from_pretrained(ADAPTER)


def test_a_token_can_be_passed(pair, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    model = PrefLSTMForCausalLM.from_pretrained(ADAPTER, token=TOKEN)
    assert model.detector.threshold == 0.4


def test_a_wrong_token_is_refused_and_not_repeated(pair, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_" + "wrong" * 7)
    message = (
        f"The Hub must let the token read '{ADAPTER}', but it refused it (401). "
        "Log in again with `hf auth login`, or mend `HF_TOKEN`."
    )
    with refused(PermissionError, message):
        PrefLSTMForCausalLM.from_pretrained(ADAPTER)


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_missing_file(pair, file):
    del pair.repos[ADAPTER].commits[-1][1][file]
    message = (
        f"Expected an adapter folder with `{file}`, found none in '{ADAPTER}'. "
        "Pass the folder that `save_pretrained` wrote."
    )
    with refused(ValueError, message):
        PrefLSTMForCausalLM.from_pretrained(ADAPTER)


def test_an_interrupted_download_is_an_error_and_the_next_one_goes_on(pair, local, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    pair.cut["adapter_model.safetensors"] = 100
    with pytest.raises(Exception) as broken:
        PrefLSTMForCausalLM.from_pretrained(ADAPTER)
    assert TOKEN not in str(broken.value)
    pair.cut.clear()
    assert_same_memory(PrefLSTMForCausalLM.from_pretrained(ADAPTER).memory, local.memory)


# --- what is hostile


class _Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_nothing_that_was_downloaded_is_executed(pair, tmp_path):
    crater = tmp_path / "crater"
    bomb, code = pickle.dumps(_Bomb(crater)), f"import os\nos.mkdir({str(crater)!r})\n".encode()
    auto_map = {"auto_map": {"AutoConfig": "evil.C", "AutoModelForSequenceClassification": "evil.M"}}
    config = json.loads(pair.repos[CLASSIFIER].files["config.json"])
    pair.repos[CLASSIFIER].add({"config.json": json.dumps({**config, **auto_map}).encode(), "pytorch_model.bin": bomb})
    for repo_id, weights in ((ADAPTER, "adapter_model.bin"), (CLASSIFIER, "pytorch_model.bin")):
        pair.repos[repo_id].add({weights: bomb, "evil.py": code, "__init__.py": code})
    config = json.loads(pair.repos[ADAPTER].files["adapter_config.json"])
    config["classifier_revision"] = pair.repos[CLASSIFIER].commits[-1][0]
    change(pair, ADAPTER, adapter_config__json=json.dumps(config).encode())
    pair.requests.clear()
    model = PrefLSTMForCausalLM.from_pretrained(ADAPTER)
    assert model.detector.threshold == 0.4
    assert pipeline("text-classification", CLASSIFIER).model.config.threshold == 0.4
    assert not crater.exists()
    fetched = [line for line in pair.requests if line.startswith("GET") and "/resolve/" in line]
    assert not [line for line in fetched if line.endswith((".bin", ".py"))]


def test_pickled_weights_are_refused_where_there_are_no_others(pair, tmp_path):
    tree = pair.repos[ADAPTER].commits[-1][1]
    tree["adapter_model.bin"] = pickle.dumps(_Bomb(tmp_path / "crater"))
    del tree["adapter_model.safetensors"]
    with pytest.raises(ValueError, match=r"^Expected an adapter folder with `adapter_model[.]safetensors`, found none"):
        PrefLSTMForCausalLM.from_pretrained(ADAPTER)
    assert not (tmp_path / "crater").exists()
