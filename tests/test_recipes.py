"""Each shipped recipe for two steps on tiny models, through the command; and what recipes and banks refuse."""

import json
from dataclasses import asdict
from importlib.resources import files

import pytest
import torch
from pref_lstm.modeling.modeling_classifier import PreferenceClassifier
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM
from pref_lstm.modeling.turn import Turn
from pref_lstm.training.bank import load_bank
from pref_lstm.training.recipe import Recipe, load_recipe, recipe_names
from pref_lstm.training.synthesize_conversations import select_conversations
from pref_lstm.training.train_memory import main
from refused import refused
from safetensors.torch import load_file
from tiny import ENCODER_WIDTH, make_encoder, make_tokenizer
from tiny_bank import bank_files, training_files
from transformers import AutoModelForCausalLM

SIZES = {"encoder_hidden_size": ENCODER_WIDTH, "num_slots": 8, "memory_size": 12, "transform_rank": 8,
         "relation_size": 6, "num_key_heads": 2}  # fmt: skip


def shrunk(name, folder, **last_stage):
    """A shipped recipe for the tiny models under `folder`, as a file there; returns the command's first options."""
    options = training_files(folder)
    recipe = json.loads((files("pref_lstm.training") / f"recipe_{name}.json").read_text())
    recipe["memory"] |= {**SIZES, "encoder_name_or_path": str(folder / "encoder")}
    if recipe["memory"].get("classifier_vector_size"):
        encoder = make_encoder()[0].auto_model
        classifier = PreferenceClassifier.from_encoder(str(folder / "encoder"), encoder, num_pools=2, head_size=4)
        classifier.save_pretrained(folder / "classifier")
        recipe["memory"] |= {"classifier_name_or_path": str(folder / "classifier"), "classifier_vector_size": 48}
    if recipe["memory"].get("num_relation_layers"):
        recipe["memory"] |= {"num_relation_layers": 2, "relation_rank": 3}
    if "data" in recipe:
        recipe["data"]["conversations"] = dict.fromkeys(recipe["data"]["conversations"], 6)
    recipe["training" if "training" in recipe else "categories"] |= last_stage
    (folder / "recipe.json").write_text(json.dumps(recipe))
    return options


def report_of(folder):
    return json.loads((folder / "training.json").read_text())


@pytest.mark.parametrize("name", recipe_names())
def test_a_shipped_recipe_trains_and_its_adapter_opens(name, tmp_path, capsys):
    assert main([*shrunk(name, tmp_path), "--output-dir", str(tmp_path / "run"), "--max-steps", "2"]) == 0
    recipe = load_recipe(name)
    assert f"{recipe.description}\nsaved '" in capsys.readouterr().out
    report = report_of(tmp_path / "run")
    assert report["steps"] == 2 and report["description"] == recipe.description
    lm = AutoModelForCausalLM.from_pretrained(tmp_path / "lm")
    model = PrefLSTMForCausalLM.from_pretrained(tmp_path / "run" / "adapter", lm=lm, tokenizer=make_tokenizer())
    readout = model.read(model.write([Turn("I love tea")], model.initial_state()), ["what now?"])
    assert readout.soft_tokens.shape == (1, recipe.memory["num_soft_tokens"], 32)
    assert readout.soft_tokens.isfinite().all()
    assert bool(readout.is_open.all()) or model.memory_config.cell == "slots"


def test_the_papers_loss_reaches_how_the_memory_is_written_and_not_how_it_is_read(tmp_path):
    learnt = []
    for rate in (1e-3, 0.0):  # what was learnt is what differs from a rate of 0
        run = tmp_path / str(rate)
        options = shrunk("paper", tmp_path, learning_rate=rate)
        assert main([*options, "--output-dir", str(run), "--max-steps", "2"]) == 0
        learnt.append(load_file(run / "adapter" / "adapter_model.safetensors"))
    moved = {name.split(".")[-2] for name in learnt[0] if not torch.equal(learnt[0][name], learnt[1][name])}
    assert moved == {"turn_projection", "forget_gate"}
    assert {name.split(".")[-2] for name in learnt[0]} >= {"projection_head", "relevance"}


def test_the_paper_reports_its_category_accuracy(tmp_path):
    options = shrunk("paper", tmp_path, learning_rate=0.02)
    assert main([*options, "--output-dir", str(tmp_path / "run"), "--max-steps", "200"]) == 0
    report = report_of(tmp_path / "run")
    accuracy = report["category_accuracy"]
    assert accuracy.keys() == {"train", "held_out", "held_out_most_frequent"}
    assert accuracy["train"] > 0.6  # short messages are learnt by heart; a guess would reach a third
    assert report["conversations"] < 40 and report["stage_seconds"].keys() == {"categories"}


def test_a_classifier_that_does_not_fit(tmp_path):
    options = shrunk("paper", tmp_path)
    recipe = json.loads((tmp_path / "recipe.json").read_text())
    recipe["memory"]["classifier_vector_size"] = 32
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    encoder = str(tmp_path / "encoder")
    message = (
        f"The classifier must read the adapter's encoder '{encoder}' and have a pooled representation of width 32 "
        f"(`classifier_vector_size`), got one on '{encoder}' of width 48. "
        "Name the classifier that the adapter was trained with in `classifier_name_or_path`."
    )
    with refused(ValueError, message):
        main([*options, "--output-dir", str(tmp_path / "run"), "--max-steps", "2"])


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_that_was_written_as_it_stands_loads_again(name, tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps(asdict(load_recipe(name))))
    assert load_recipe(str(tmp_path / "mine.json")) == load_recipe(name)


# What is refused


def test_a_recipe_that_is_not_there():
    with refused(ValueError, f"Expected a recipe's file or one of {recipe_names()}, got 'fast'."):
        load_recipe("fast")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be JSON, but line 1 is not: Expecting property name enclosed in double quotes."),
        ("[]", "must be an object with an object `memory`, got list."),
        ('{"data": {}}', "must be an object with an object `memory`, got ['data']."),
        (
            '{"memory": {"cell": "prompt"}, "retrieval": {"max_steps": 1}}',
            "must have the keys ['data', 'description', 'memory', 'teacher', 'training'] for its `memory`, "
            "got ['memory', 'retrieval'].",
        ),
        (
            '{"memory": {"num_key_layers": 2}}',
            "must have the keys ['data', 'description', 'keys', 'memory', 'retrieval', 'teacher', 'training'] for its "
            "`memory`, got ['memory'].",
        ),
        (
            '{"memory": {"cell": "prompt"}, "description": "", "categories": {}}',
            "has the stage `categories`, which reads the state of a cell 'pref_lstm' or 'lstm', got 'prompt'.",
        ),
        ('{"memory": {"cel": "prompt"}}', "must have an object of known names as `memory`, got ['cel']."),
        (
            '{"memory": {}, "relations": {"max_steps": 1, "rate": 1}}',
            "must have an object of known names as `relations`, got ['rate'].",
        ),
        ('{"memory": {}, "teacher": [0.5]}', "must have an object of known names as `teacher`, got list."),
    ],
)
def test_a_recipe_with_other_keys_than_its_stages_need(text, message, tmp_path):
    file = tmp_path / "r.json"
    file.write_text(text)
    with refused(ValueError, f"The recipe '{file}' {message}"):
        load_recipe(str(file))


def test_a_bank_with_a_line_that_is_none(tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text('{"topic": "tea", "things": [], "questions": []}\n{"topic": "tea"}\n')
    message = (
        "Line 2 of the bank 'mine.jsonl' must be a preference or a topic as in ['bank.jsonl', 'bank_pairs.jsonl'], but "
        "is not (KeyError: 'questions'). docs/recipes.md says which keys these have."
    )
    with refused(ValueError, message):
        load_bank((file,))


def test_a_bank_that_is_too_small_for_a_recipe(tmp_path):
    recipe = Recipe("", {}, data={"conversations": {"first": 7}})
    message = (
        "The recipe takes 7 conversations of the source 'first', the bank has 6. Write a smaller count into the "
        "recipe, or give a larger bank."
    )
    with refused(ValueError, message):
        select_conversations(recipe, load_bank(bank_files(tmp_path)), 0)
