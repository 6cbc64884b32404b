"""
Train the memory of another LM: any causal LM of transformers whose tokenizer has a chat template.

    python examples/02_train_memory.py --lm FOLDER_OR_HUB_ID --oasst en-validation.jsonl --output-dir runs/mine

The teacher is the LM itself, reading the preference as text; the LM stays frozen. A second run with the same folder
goes on from the last checkpoint. It prints the Trainer's log and one answer of the new memory.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch
from pref_lstm.modeling import build_prompt
from pref_lstm.training.recipe import load_recipe
from pref_lstm.training.train_memory import main as train_memory

from pref_lstm import PrefLSTMForCausalLM, Turn

SAID, ASKED = "I hate seafood, even the smell of fish.", "What should I cook tonight?"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lm", default="HuggingFaceTB/SmolLM2-135M-Instruct", help="folder or hub id of the LM")
    parser.add_argument("--oasst", metavar="FILE", help="OASST1 messages (JSON lines), which have to do with nobody")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true", help="random weights made on the spot: shows that it runs")
    options = parser.parse_args()
    options.output_dir.mkdir(parents=True, exist_ok=True)

    # 1. A recipe is all that a run depends on beside the data and the seed. Start from the shipped one.
    recipe = asdict(load_recipe("default"))
    changes = {
        "memory": {"num_soft_tokens": 16},  # how many tokens the LM reads per answer
        "training": {"learning_rate": 6e-4, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1},
    }
    arguments = ["--lm", options.lm, "--oasst", str(options.oasst)]
    if options.tiny:
        from tiny_models import tiny_training

        arguments, changes = tiny_training(options.output_dir / "tiny")
    elif options.oasst is None:
        parser.error("--oasst is needed")
    for part, values in changes.items():
        recipe[part] |= values
    path = options.output_dir / "recipe.json"
    path.write_text(json.dumps(recipe, indent=2))

    # 2. Width, placeholder id and frame tokens are taken from the LM. The adapter goes to OUTPUT_DIR/adapter.
    train_memory([*arguments, "--recipe", str(path), "--output-dir", str(options.output_dir)])

    # 3. It opens like any other. What it is worth, examples/04_evaluate.py tells.
    model = PrefLSTMForCausalLM.from_pretrained(options.output_dir / "adapter")
    readout = model.read(model.write([Turn(SAID)], model.initial_state()), [ASKED])
    config = model.memory_config
    message = [{"role": "user", "content": ASKED}]
    ids = build_prompt(model.tokenizer, message, config.memory_token_id, [config.num_soft_tokens])
    said = model.generate(input_ids=torch.tensor([ids]), memory_readout=readout, max_new_tokens=40, do_sample=False)
    print(f"{ASKED} {model.tokenizer.decode(said[0, len(ids) :], skip_special_tokens=True)}")


if __name__ == "__main__":
    main()
