"""What `--tiny` runs on: two-layer models of random weights and a few invented rows, from the tests' own helpers."""

from __future__ import annotations

import sys
from pathlib import Path

from pref_lstm import Detector, PrefLSTMForCausalLM

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from prefeval_folder import write_adapter, write_oasst
from tiny import ENCODER_WIDTH, KeywordDetector
from tiny_classifier import save_tiny_encoder

__all__ = ["save_tiny_encoder", "tiny_adapter", "tiny_pair", "tiny_training"]


def tiny_adapter(folder: Path) -> Path:
    """An adapter's folder, beside the LM (`lm`) and the encoder (`encoder`) that it names."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_adapter(folder)


def tiny_pair(folder: Path) -> tuple[PrefLSTMForCausalLM, Detector]:
    """A model and a detector that looks for a few verbs."""
    return PrefLSTMForCausalLM.from_pretrained(tiny_adapter(folder)), KeywordDetector()


def tiny_training(folder: Path) -> tuple[list[str], dict[str, dict[str, object]]]:
    """Options of `pref-lstm train-memory`, and what to change in a recipe: three steps of the paper's cell."""
    tiny_adapter(folder)
    changes: dict[str, dict[str, object]] = {
        "memory": {"cell": "pref_lstm", "num_key_layers": 0, "num_soft_tokens": 6, "memory_size": 12,
                   "encoder_name_or_path": str(folder / "encoder"), "encoder_hidden_size": ENCODER_WIDTH},
        "training": {"max_steps": 3, "per_device_train_batch_size": 2, "logging_steps": 1},
        "teacher": {"max_answer_tokens": 12},
        "data": {"conversations": {"first": 6}},
    }  # fmt: skip
    return ["--lm", str(folder / "lm"), "--oasst", str(write_oasst(folder / "oasst.jsonl")), "--use-cpu"], changes
