"""What a training run tells its model's card."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from pref_lstm.hub_cards import CardCallback, CardFacts
from pref_lstm.hub_cards.compute_facts import compute_facts
from tiny import ENCODER_WIDTH
from transformers import Trainer, TrainingArguments

from pref_lstm.cli import main


class _Line(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x, labels):
        return {"loss": ((self.weight * x - labels) ** 2).mean()}


def train(folder, steps, resume=None):
    facts = CardFacts()
    arguments = TrainingArguments(
        str(folder), max_steps=steps, per_device_train_batch_size=2, gradient_accumulation_steps=2, seed=5,
        learning_rate=0.1, logging_steps=1, save_steps=2, use_cpu=True, report_to="none", disable_tqdm=True,
    )  # fmt: skip
    rows = [{"x": torch.tensor([1.0]), "labels": torch.tensor([2.0])}] * 8
    trainer = Trainer(_Line(), arguments, train_dataset=rows, callbacks=[CardCallback(facts)])
    trainer.train(resume_from_checkpoint=resume)
    return facts, trainer.state.log_history


def test_the_callback_notes_the_run(tmp_path):
    facts, log = train(tmp_path, 2)
    training = facts.measured.training
    assert (training.steps, training.seed, training.batch_size, training.learning_rate) == (2, 5, 4, 0.1)
    assert training.final_loss == [row["loss"] for row in log if "loss" in row][-1]
    assert training.seconds is not None and training.hardware.startswith("1 thread of ")
    assert facts.computed.versions["Transformers"]


def test_a_resumed_run_does_not_know_how_long_it_took(tmp_path):
    train(tmp_path, 2)
    facts, _ = train(tmp_path, 4, resume=str(tmp_path / "checkpoint-2"))
    assert facts.measured.training.steps == 4
    assert facts.measured.training.seconds is None


def test_train_memory_leaves_a_card_and_its_facts(hub_folders, tmp_path):
    memory = {"num_soft_tokens": 6, "num_frame_tokens": 2, "num_slots": 5, "transform_rank": 8, "relation_size": 6}
    memory |= {"encoder_name_or_path": str(hub_folders / "encoder"), "encoder_hidden_size": ENCODER_WIDTH}
    recipe = {
        "memory": memory,
        "training": {"max_steps": 2, "per_device_train_batch_size": 2, "logging_steps": 1},
        "teacher": {"strength": 1.0, "max_answer_tokens": 8},
        "data": {"bank": 4, "opposite": 2, "epochs": 1, "num_turns": [1, 2]},
    }
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    said = [
        {"message_id": f"{i}", "parent_id": None, "message_tree_id": f"{i}", "role": "prompter", "text": f"plan {i}"}
        for i in range(20)
    ]
    (tmp_path / "oasst.jsonl").write_text("\n".join(map(json.dumps, said)))
    options = ["--recipe", "recipe.json", "--oasst", "oasst.jsonl", "--output-dir", "run"]
    paths = [option if option.startswith("--") else str(tmp_path / option) for option in options]
    assert main(["train-memory", *paths, "--lm", str(hub_folders / "lm"), "--use-cpu"]) == 0
    adapter = tmp_path / "run" / "adapter"
    card = ModelCard.load(adapter / "README.md")
    assert "2 steps, 2 conversations a step, learning rate 0.0005, seed 0, last logged loss" in card.text
    assert re.findall(r"^\| .*OASST1.* \|$", card.text, re.MULTILINE)
    assert "None" not in str(card) and "[More Information Needed]" not in card.text
    assert str(tmp_path) not in str(card) and str(hub_folders) not in str(card)
    assert CardFacts.load(adapter).measured.training.steps == 2


@pytest.mark.parametrize("kind", ["adapter", "classifier"])
def test_the_shipped_facts_are_those_of_the_shipped_weights(kind):
    folder = Path(str(files("pref_lstm") / f"default_{kind}"))
    assert CardFacts.load(folder).computed.weights_sha256 == compute_facts(kind, folder).weights_sha256
