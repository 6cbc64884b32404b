"""The classifier: pooling, masks, saving, loading, sharing an encoder, the detector, training and evaluation."""

import copy
import json
import re

import pytest
import torch
from datasets import Dataset, DatasetDict
from pref_lstm.modeling.classifier_detector import ClassifierDetector
from pref_lstm.modeling.configuration_classifier import PreferenceClassifierConfig
from pref_lstm.modeling.modeling_classifier import PreferenceClassifier
from pref_lstm.modeling.registration import register_classifier
from pref_lstm.modeling.turn import Detection, Detector, Turn
from pref_lstm.modeling.turn_tokenization import tokenize_turns
from pref_lstm.training import evaluate_classifier, train_classifier
from pref_lstm.training.alpsbench import load_alpsbench
from pref_lstm.training.calibrate_threshold import calibrate_threshold
from pref_lstm.training.classifier_metrics import classification_figures
from pref_lstm.training.classifier_trainer import (
    ClassifierTrainer,
    HiddenStateCollator,
    cache_hidden_states,
    predict_probabilities,
)
from safetensors.torch import load_file
from tiny import TOLERANCE
from tiny_classifier import save_tiny_encoder, tiny_encoder, tiny_tokenizer
from transformers import AutoModelForSequenceClassification, pipeline

TURNS = [
    Turn("i love tea", "what is the coffee"),
    Turn("hello"),
    Turn("my sister likes short lists please", "hello we"),
]


def make(**fields):
    fields = {"num_tuned_layers": 1, "hidden_state_indices": [0, 2], "head_size": 8, **fields}
    torch.manual_seed(1)
    model = PreferenceClassifier.from_encoder("tiny", tiny_encoder(), **fields)
    with torch.no_grad():
        model.mix.weight.copy_(torch.arange(len(model.mix.weight)).float())
    return model.eval()


def read(model, turns):
    return model(**tokenize_turns(tiny_tokenizer(), turns)).logits


@pytest.mark.parametrize("pooling", ["cls", "mean", "attention"])
def test_a_turn_is_the_same_alone_and_in_a_batch(pooling):
    model = make(pooling=pooling)
    together = read(model, TURNS)
    alone = torch.cat([read(model, [turn]) for turn in TURNS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert together.shape == (3, 2)
    assert (together[:, 0] == 0).all()


def test_the_user_s_segment_is_pooled_and_the_agent_s_line_is_context():
    model = make(num_tuned_layers=0)
    states = tuple(torch.randn(1, 5, 16) for _ in range(3))
    mask, types = torch.ones(1, 5, dtype=torch.long), torch.tensor([[0, 0, 1, 1, 0]])
    before = model.classify(states, mask, types)
    for state in states:
        state[:, [0, 1, 4]] += 1.0
    torch.testing.assert_close(model.classify(states, mask, types), before)
    assert not torch.equal(read(make(), [Turn("tea", "hello")]), read(make(), [Turn("tea", "what is the")]))


def test_text_without_a_second_segment_counts_as_the_user_s():
    model = make()
    ids = torch.tensor([[2, 5, 6, 3]])
    ones = torch.ones_like(ids)
    states = model.encode(ids, ones, torch.zeros_like(ids))
    expected = model.classify(states, ones, ones)
    torch.testing.assert_close(model(input_ids=ids).logits, expected)


def test_shared_hidden_states_give_the_same_logits():
    model = make()
    batch = tokenize_turns(tiny_tokenizer(), TURNS)
    states = model.encode(**batch)
    given = {name: batch[name] for name in ("attention_mask", "token_type_ids")}
    assert model.states_read() == [0, 1, 2]
    torch.testing.assert_close(model(**given, hidden_states=states).logits, model(**batch).logits)
    sparse = make(hidden_state_indices=[-1])
    assert sparse.states_read() == [1, 2]
    torch.testing.assert_close(sparse.classify((None, *states[1:]), **given), sparse(**batch).logits)


def test_tuned_layers_begin_as_the_encoder_s():
    model = make()
    for name, value in model.encoder.encoder.layer[-1].state_dict().items():
        assert torch.equal(value, model.tuned_layers[0].state_dict()[name])


def test_training_moves_the_head_and_not_the_encoder():
    model = make().train()
    assert not model.encoder.training
    before = {name: value.clone() for name, value in model.named_parameters()}
    batch = tokenize_turns(tiny_tokenizer(), TURNS)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model(**batch, labels=torch.tensor([1, 0, 1])).loss.backward()
    optimizer.step()
    still = {name for name, value in model.named_parameters() if torch.equal(value, before[name])}
    # The last layer's key bias cancels out in a softmax over keys, as does the pools' own.
    assert {name for name in still if not name.startswith("encoder.")} <= {
        "tuned_layers.0.attention.self.key.bias",
        "pooler.query.bias",
    }
    assert {name for name in before if name.startswith("encoder.")} <= still


def test_loss_is_binary_cross_entropy_with_logits():
    model = make()
    labels = torch.tensor([1, 0, 1])
    output = model(**tokenize_turns(tiny_tokenizer(), TURNS), labels=labels)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(output.logits[:, 1], labels.float())
    torch.testing.assert_close(output.loss, expected)


def test_saved_folder_holds_the_head_alone_and_loads_everywhere(tmp_path):
    encoder, folder = save_tiny_encoder(tmp_path / "encoder"), tmp_path / "classifier"
    model = PreferenceClassifier.from_encoder(encoder, num_tuned_layers=1, threshold=0.25).eval()
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    from safetensors.torch import load_file

    names = set(load_file(folder / "model.safetensors"))
    assert names == {name for name, _ in model.named_parameters() if not name.startswith("encoder.")}
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["PreferenceClassifier"]
    assert config["id2label"] == {"0": "no_preference", "1": "preference"}
    assert config["threshold"] == 0.25
    assert "_name_or_path" not in config["encoder_config"]

    register_classifier()
    loaded = AutoModelForSequenceClassification.from_pretrained(folder)
    kept = dict(model.named_parameters())
    assert all(torch.equal(weight, kept[name]) for name, weight in loaded.named_parameters())
    # Not bit for bit: some CPUs round by how a tensor lies in memory.
    torch.testing.assert_close(read(loaded, TURNS), read(model, TURNS), **TOLERANCE)
    shared = tiny_encoder()
    assert PreferenceClassifier.from_pretrained(folder, encoder=shared).encoder is shared
    _, info = PreferenceClassifier.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    [result] = pipeline("text-classification", str(folder))([{"text": "hello", "text_pair": "i love tea"}])
    assert result["label"] in ("preference", "no_preference")


def test_the_paper_s_setting():
    model = make(**train_classifier.RECIPES["paper"])
    assert model.config.pooling == "cls" and not len(model.tuned_layers)
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert {name.split(".")[0] for name in trained} == {"mix", "norm", "head"}
    batch = tokenize_turns(tiny_tokenizer(), TURNS)
    last = model.encode(**batch)[-1][:, 0]
    expected = model.head(model.norm(last)).squeeze(-1)
    torch.testing.assert_close(model(**batch).logits[:, 1], expected)


def raises(kind, message):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


def test_errors_of_the_model():
    config = make().config
    with raises(
        RuntimeError,
        "`PreferenceClassifier` has no encoder to read `input_ids` with. Load it with `from_pretrained`, make "
        "it with `from_encoder`, or call `attach(encoder)` first.",
    ):
        PreferenceClassifier(config)(input_ids=torch.tensor([[2, 3]]))
    with raises(
        ValueError,
        "`PreferenceClassifier` expects `input_ids`, or `hidden_states` together with `attention_mask`, and "
        "got neither. Pass one of them.",
    ):
        make()()
    with raises(
        ValueError,
        "The encoder must have `hidden_size` 16, got 32. Pass the encoder this classifier was trained on: `tiny`.",
    ):
        make().attach(tiny_encoder(hidden_size=32))
    with raises(
        ValueError,
        "`num_tuned_layers` = 3 needs a BERT-like encoder with as many layers in `encoder.layer`, got "
        "BertModel with 2. Choose fewer, or another encoder.",
    ):
        make(num_tuned_layers=3)


def test_errors_of_the_configuration():
    with raises(TypeError, "`PreferenceClassifierConfig` has no field `treshold`. Did you mean `threshold`?"):
        PreferenceClassifierConfig(treshold=0.3)
    with pytest.raises(
        Exception, match=r"`threshold` must lie between 0.0 and 1.0, got 2.0. Choose a value in between."
    ):
        PreferenceClassifierConfig(threshold=2.0)
    nothing = (
        "The head has nothing to read: `hidden_state_indices` is empty and `num_tuned_layers` is 0. "
        "Name at least one hidden state or tune at least one layer."
    )
    with pytest.raises(Exception, match=re.escape(nothing)):
        PreferenceClassifierConfig(hidden_state_indices=[])
    copied = PreferenceClassifierConfig.from_dict(copy.deepcopy(PreferenceClassifierConfig(threshold=0.3).to_dict()))
    assert copied.threshold == 0.3


def test_detector_decides_by_the_stored_threshold():
    model = make()
    model.config.threshold = 0.0
    detector = ClassifierDetector(model, tiny_tokenizer(), batch_size=2)
    assert isinstance(detector, Detector)
    detections = detector.detect(TURNS)
    assert [detection.is_preference for detection in detections] == [True] * 3
    assert detections[0].reason == f"probability {detections[0].probability:.3f} reaches the threshold 0.000"
    model.config.threshold = 1.0
    assert detector.detect(TURNS)[0].reason.endswith("is below the threshold 1.000")
    assert detector.detect([]) == []


@pytest.mark.parametrize("text", ["\u202e", "x", "日本語が好き", "\x00\x07 tea", "i love tea " * 10_000, "🙂" * 3_000])
def test_detector_answers_to_any_text(text):
    detector = ClassifierDetector(make(), tiny_tokenizer())
    [detection] = detector.detect([Turn(text, agent=text)])
    assert 0.0 <= detection.probability <= 1.0


def test_collator_gives_its_documented_tensors():
    rows = [
        {"length": 2, "token_type_ids": [0, 1], "state_1": [1.0, 2, 3, 4], "labels": 1, "weight": 2.0},
        {"length": 1, "token_type_ids": [1], "state_1": [5.0, 6], "labels": 0, "weight": 1.0},
    ]
    batch = HiddenStateCollator(hidden_size=2, num_states=3, states_read=[1])(rows)
    assert batch["hidden_states"][0] is None and batch["hidden_states"][2] is None
    assert batch["hidden_states"][1].tolist() == [[[1, 2], [3, 4]], [[5, 6], [0, 0]]]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert batch["token_type_ids"].tolist() == [[0, 1], [1, 0]]
    assert batch["labels"].tolist() == [1, 0] and batch["weight"].tolist() == [2.0, 1.0]


def test_noisy_labels_pull_at_most_so_much():
    model, batch = make(), tokenize_turns(tiny_tokenizer(), TURNS)
    labels = torch.tensor([1, 0, 1])
    probability = model(**batch).logits.softmax(-1)[torch.arange(3), labels]
    trainer = ClassifierTrainer.__new__(ClassifierTrainer)
    given = {**batch, "labels": labels, "weight": torch.tensor([1.0, 2.0, 4.0])}
    plain = trainer.compute_loss(model, dict(given))
    torch.testing.assert_close(plain, (-probability.log() * given["weight"]).mean())
    robust = trainer.compute_loss(model, {**given, "noisy": torch.tensor([False, False, True])})
    expected = torch.stack(
        [-probability[0].log(), -2 * probability[1].log(), 4 * (1 - probability[2] ** 0.7) / 0.7]
    ).mean()
    torch.testing.assert_close(robust, expected)


def test_cached_states_are_the_encoder_s_whatever_their_order(tmp_path):
    model, tokenizer = make(), tiny_tokenizer()
    rows = [{"agent": "", "user": "tea " * (number % 7 + 1), "labels": 0} for number in range(15)]
    cached = cache_hidden_states(Dataset.from_list(rows), model, tokenizer, tmp_path / "states.arrow")
    collator = HiddenStateCollator(16, 3, model.states_read())
    probabilities = predict_probabilities(model, cached, collator, batch_size=4)
    expected = [read(model, [Turn(row["user"])]).softmax(-1)[0, 1].item() for row in rows]
    assert probabilities == pytest.approx(expected, abs=1e-3)


def tiny_data(*_, **__):
    rows = [
        {
            "agent": "hello" if number % 3 else "",
            "user": ("i love tea" if number % 2 else "what is tea") + " my" * (number % 5),
            "labels": number % 2,
            "weight": 1.0,
            "noisy": number % 5 == 0,
            "source": "synthetic" if number % 2 else "oasst",
        }
        for number in range(32)
    ]
    return DatasetDict({"train": Dataset.from_list(rows), "validation": Dataset.from_list(rows[:16])})


def test_train_command_learns_saves_resumes_and_evaluates(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_classifier, "classifier_data", tiny_data)
    monkeypatch.setitem(train_classifier.RECIPES, "default", {"num_tuned_layers": 1, "hidden_state_indices": [0, 2]})
    encoder, output = save_tiny_encoder(tmp_path / "encoder"), tmp_path / "run"
    arguments = ["--encoder", encoder, "--output_dir", str(output), "--use_cpu", "--report_to", "none"]
    arguments += ["--disable_tqdm", "true", "--learning_rate", "1e-2", "--head_learning_rate", "1e-2"]
    straight = train_classifier.main([*arguments, "--num_train_epochs", "4"])
    files = {path.name for path in output.iterdir() if path.suffix != ".arrow" and path.is_file()}
    card = {"README.md", "card_facts.json", "run.json"}
    with pytest.raises(ValueError, match=r"differs in \['seed'\]"):
        train_classifier.main([*arguments, "--num_train_epochs", "4", "--seed", "5"])
    assert files == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", *card}

    for checkpoint in sorted(output.glob("checkpoint-*"))[2:]:
        for file in checkpoint.iterdir():
            file.unlink()
        checkpoint.rmdir()
    resumed = train_classifier.main([*arguments, "--num_train_epochs", "4"])
    for name, value in straight.named_parameters():
        torch.testing.assert_close(value, resumed.get_parameter(name), atol=1e-5, rtol=1e-4, msg=name)
    ended = train_classifier.main([*arguments, "--num_train_epochs", "4"])  # takes no further step
    assert all(torch.equal(value, ended.get_parameter(name)) for name, value in resumed.named_parameters())
    with pytest.raises(ValueError, match="nowhere"):
        train_classifier.main([*arguments, "--resume_from_checkpoint", str(tmp_path / "nowhere")])

    data = tmp_path / "turns.jsonl"
    rows = tiny_data()["validation"]
    data.write_text("".join(json.dumps({**row, "preference": row["labels"]}) + "\n" for row in rows), "utf-8")
    figures = evaluate_classifier.main(
        ["--model", str(output), "--data", str(data), "--json", str(tmp_path / "f.json")]
    )
    assert list(figures) == [
        "n", "accuracy", "precision", "recall", "f1", "auprc", "threshold", "ms_per_turn", "hardware",
    ]  # fmt: skip
    assert figures["n"] == 16 and figures["accuracy"] == 1.0
    assert json.loads((tmp_path / "f.json").read_text()) == figures
    assert '"accuracy": 1.0' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"agent": "", "user": "x"}', "no `preference`"),
        ('{"user": "x", "preference": 2}', "no `agent`"),
        ('{"agent": "", "user": "x", "preference": 2}', "`preference` = 2 instead of 0 or 1"),
    ],
)
def test_evaluation_refuses_bad_rows(tmp_path, line, found):
    file = tmp_path / "turns.jsonl"
    file.write_text(line + "\n", "utf-8")
    with raises(
        ValueError,
        f"turns.jsonl, line 1: expected an object with `agent`, `user`, `preference`, got {found}. Mend the line.",
    ):
        evaluate_classifier.read_rows(file)
    file.write_text("", "utf-8")
    with raises(ValueError, "turns.jsonl holds no turns. Pass a JSONL file with one labelled turn a line."):
        evaluate_classifier.read_rows(file)


def test_figures_by_hand():
    detections = [Detection(p, p >= 0.5, "") for p in (0.9, 0.8, 0.3, 0.1)]
    figures = classification_figures([1, 0, 1, 0], detections, 0.5)
    assert figures == {
        "n": 4,
        "accuracy": 0.5,
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
        "auprc": pytest.approx((1 + 2 / 3) / 2),
        "threshold": 0.5,
    }
    assert classification_figures([0, 0], detections[:2], None)["auprc"] is None


def test_threshold_keeps_false_alarms_rare():
    probabilities = [0.9, 0.6, 0.2, 0.1, 0.7, 0.1]
    labels = [1, 1, 0, 0, 0, 0]
    sources = ["synthetic"] * 4 + ["oasst"] * 2
    assert calibrate_threshold(probabilities, labels, sources, max_false_alarms=0.5) == 0.41
    assert calibrate_threshold(probabilities, labels, sources, max_false_alarms=0.0) == 0.81
    assert calibrate_threshold([0.99], [0], ["alpsbench"]) == 0.95


def test_alpsbench_drops_blank_turns_and_splits_by_session(tmp_path):
    rows = [
        {"session": session, "turn": 0, "agent": None, "user": user, "preference": 1, "memory": 1}
        for session in ("a", "b", "c", "d", "e", "f")
        for user in ("hi", " ")
    ]
    file = tmp_path / "turns.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    turns = load_alpsbench(file)
    assert len(turns) == 6 and {turn["agent"] for turn in turns} == {""}
    assert {turn["split"] for turn in turns} == {"train", "test"}


def test_pickled_weights_are_not_opened(tmp_path):
    make().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match=r"model\.safetensors"):
        PreferenceClassifier.from_pretrained(str(tmp_path), encoder=tiny_encoder())
