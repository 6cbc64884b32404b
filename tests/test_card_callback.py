"""What a training run tells its model's card."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from pref_lstm.hub_cards import CardCallback, CardFacts
from pref_lstm.hub_cards.compute_facts import compute_facts
from tiny_bank import training_files
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


def test_train_memory_leaves_a_card_and_its_facts(tmp_path):
    options = [*training_files(tmp_path), "--output-dir", str(tmp_path / "run")]
    assert main(["train-memory", *options]) == 0
    adapter = tmp_path / "run" / "adapter"
    card = ModelCard.load(adapter / "README.md")
    assert "4 steps, 3 conversations a step, learning rate 0.0005, seed 0, last logged loss" in card.text
    assert re.findall(r"^\| .*OASST1.* \|$", card.text, re.MULTILINE)
    assert "None" not in str(card) and "[More Information Needed]" not in card.text
    assert str(tmp_path) not in str(card)
    assert CardFacts.load(adapter).measured.training.steps == 4


@pytest.mark.parametrize("kind", ["adapter", "classifier"])
def test_the_shipped_facts_are_those_of_the_shipped_weights(kind):
    folder = Path(str(files("pref_lstm") / f"default_{kind}"))
    assert CardFacts.load(folder).computed.weights_sha256 == compute_facts(kind, folder).weights_sha256
