"""
Train the classifier on your own labels: which turns of your users reveal a preference.

    python examples/03_train_classifier.py --data mine.jsonl --output-dir runs/classifier

Each line is `{"agent": "...", "user": "...", "preference": 0 or 1}`: what the agent said before (may be empty), what
the user wrote, the label. One line in five validates. It prints the Trainer's log and the figures on those lines.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from datasets import Dataset
from pref_lstm.modeling import PreferenceClassifier, resolve_encoder
from pref_lstm.training import classifier_trainer as stage
from pref_lstm.training.calibrate_threshold import calibrate_threshold
from pref_lstm.training.classifier_metrics import evaluate_detector
from pref_lstm.training.evaluate_classifier import read_rows
from transformers import AutoTokenizer

from pref_lstm import load_detector

TINY = [("i love tea", 1), ("what is coffee", 0), ("please answer in short lists", 1), ("hello", 0)] * 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="JSON lines of labelled turns")
    parser.add_argument("--encoder", default="sentence-transformers/all-MiniLM-L6-v2", help="folder or hub id")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true", help="random weights made on the spot: shows that it runs")
    options = parser.parse_args()
    out = options.output_dir
    out.mkdir(parents=True, exist_ok=True)
    if options.tiny:
        from tiny_models import save_tiny_encoder

        options.encoder, options.data = save_tiny_encoder(out / "encoder"), out / "labels.jsonl"
        rows = [{"agent": "", "user": text, "preference": label} for text, label in TINY]
        options.data.write_text("\n".join(map(json.dumps, rows)))
    elif options.data is None:
        parser.error("--data is needed")

    # 1. A fresh head on the frozen encoder. Its tuned layer begins as a copy of the encoder's last one.
    model = PreferenceClassifier.from_encoder(options.encoder, num_tuned_layers=1)
    tokenizer = AutoTokenizer.from_pretrained(resolve_encoder(options.encoder))

    # 2. The encoder is frozen, so it reads each turn once; the hidden states are kept on disk.
    rows = read_rows(options.data)
    splits = {"train": [row for i, row in enumerate(rows) if i % 5], "validation": rows[::5]}
    cached = {}
    for split, part in splits.items():
        turns = Dataset.from_list(part).rename_column("preference", "labels")
        cached[split] = stage.cache_hidden_states(turns, model, tokenizer, out / f"{split}.arrow")
    encoder = model.config.encoder_config
    collator = stage.HiddenStateCollator(encoder.hidden_size, encoder.num_hidden_layers + 1, model.states_read())

    # 3. Train, and choose the threshold on the validation lines.
    arguments = stage.ClassifierTrainingArguments(str(out / "run"), use_cpu=True, report_to="none")
    stage.ClassifierTrainer(model, arguments, collator, cached["train"], cached["validation"]).train()
    probabilities = stage.predict_probabilities(model, cached["validation"], collator)
    labels = [row["preference"] for row in splits["validation"]]
    model.config.threshold = calibrate_threshold(probabilities, labels, ["mine"] * len(labels))

    # 4. The folder is for `load_detector`, for `pref-lstm evaluate-classifier --model`, and for the Hub.
    model.save_pretrained(out / "classifier")
    tokenizer.save_pretrained(out / "classifier")
    detector = load_detector(str(out / "classifier"))
    print(json.dumps(evaluate_detector(detector, splits["validation"], detector.threshold), indent=2))


if __name__ == "__main__":
    main()
