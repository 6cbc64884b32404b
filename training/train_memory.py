"""
`pref-lstm train-memory`: train a memory for a frozen LM.

    pref-lstm train-memory --recipe default --oasst en.jsonl --output-dir runs/default
    accelerate launch --multi_gpu --num_processes 2 -m pref_lstm.training.train_memory --use-cpu ...

A second run with the same folder goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, concatenate_datasets
from pref_lstm.modeling.cell_slots import SlotCell
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM
from pref_lstm.modeling.resolve import DEFAULT_LM, load_language_model
from transformers import set_seed

from .arguments import KeyTrainingArguments, MemoryTrainingArguments, RetrievalTrainingArguments
from .bank import bank_fingerprint
from .collator import MemoryCollator
from .oasst import load_oasst_prompts
from .recipe import load_recipe, recipe_names
from .resume import train_from_last
from .retrieval_sampler import RetrievalSampler
from .synthesize_conversations import prepare_conversations
from .train_keys import train_keys
from .train_retrieval import train_retrieval
from .trainer import MemoryTrainer

_MAX_PROMPT_CHARACTERS = 600


def make_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(prog="pref-lstm train-memory", description="Train a memory for a frozen LM.")
    parser.add_argument("--recipe", default="default", help=f"a JSON file or one of {recipe_names()}")
    parser.add_argument("--lm", default=DEFAULT_LM, help="hub id, folder, GGUF file or embedded name (%(default)s)")
    parser.add_argument(
        "--oasst", required=True, metavar="FILE", help="OASST1 as JSON lines: messages unrelated to any"
    )
    parser.add_argument("--output-dir", required=True, type=Path, metavar="DIR", help="checkpoints and the adapter")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="cached teacher outputs (default: in OUTPUT_DIR)")
    parser.add_argument("--max-steps", type=int, help="stop after so many steps (default: the recipe's)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--use-cpu", action="store_true", help="leave accelerators alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what the run printed to this file")
    return parser


def run(options: argparse.Namespace) -> int:
    """Train, and save the adapter to `OUTPUT_DIR/adapter`."""
    recipe = load_recipe(options.recipe)
    arguments = MemoryTrainingArguments(
        str(options.output_dir),
        seed=options.seed,
        use_cpu=options.use_cpu,
        report_to="none",
        **recipe.training | ({} if options.max_steps is None else {"max_steps": options.max_steps}),
    )
    set_seed(options.seed)
    lm, tokenizer = load_language_model(options.lm)
    model = PrefLSTMForCausalLM.from_language_model(lm, tokenizer, recipe.memory_config())
    started = time.perf_counter()
    with arguments.main_process_first(desc="caching the teacher's outputs"), model.disable_memory():
        data_dir = options.data_dir or options.output_dir / "data"
        dataset = prepare_conversations(recipe, model.language_model, tokenizer, data_dir, options.seed)
    prepared = time.perf_counter()
    unrelated = [
        row["user"][:_MAX_PROMPT_CHARACTERS] for row in load_oasst_prompts(options.oasst) if row["split"] == "train"
    ]
    seconds = {}
    if model.memory.key_encoder is not None:
        stage = _stage(KeyTrainingArguments, "keys", recipe.keys, options)
        seconds["keys"] = train_keys(model.memory.key_encoder, model.encoder, unrelated, stage)["train_runtime"]
        # It is done: the turns of a batch are encoded once, without gradients.
        model.memory.key_encoder.requires_grad_(False)
    if isinstance(model.memory.cell, SlotCell):
        stage = _stage(RetrievalTrainingArguments, "retrieval", recipe.retrieval, options)
        sampler = RetrievalSampler(model.encoder, unrelated)
        seconds["retrieval"] = train_retrieval(model.memory.cell, sampler, stage)["train_runtime"]
    config = model.memory_config
    collator = MemoryCollator(
        tokenizer,
        model.encoder,
        int(config.memory_token_id or 0),
        config.num_soft_tokens,
        recipe.data["num_turns"],
    )
    trainer = MemoryTrainer(
        model=model.language_model,
        args=arguments,
        train_dataset=repeated(dataset, recipe.data["epochs"]),
        data_collator=collator,
    )
    seconds["answers"] = train_from_last(trainer)["train_runtime"]
    report: dict[str, Any] = {
        "recipe": options.recipe,
        "lm": lm.name_or_path,
        "seed": options.seed,
        "bank": bank_fingerprint(),
        "conversations": len(dataset),
        "steps": trainer.state.global_step,
        "prepare_seconds": round(prepared - started, 1),
        "stage_seconds": {name: round(value, 1) for name, value in seconds.items()},
        "train_seconds": round(sum(seconds.values()), 1),
        "threads": torch.get_num_threads(),
        "log": [row for row in trainer.state.log_history if "loss" in row],
    }
    if arguments.process_index == 0:
        model.save_pretrained(options.output_dir / "adapter")
        text = json.dumps(report, indent=2)
        (options.output_dir / "training.json").write_text(text + "\n")
        if options.json:
            options.json.write_text(text + "\n")
        print(f"saved '{options.output_dir / 'adapter'}' after {report['train_seconds']} s of training")
    return 0


def _stage(kind: type[Any], name: str, values: dict[str, Any], options: argparse.Namespace) -> Any:
    """The arguments of a stage before the last one; its checkpoints lie in a folder of its own."""
    steps = {} if options.max_steps is None else {"max_steps": options.max_steps}
    folder = str(options.output_dir / name)
    return kind(folder, seed=options.seed, use_cpu=options.use_cpu, report_to="none", **values | steps)


def repeated(dataset: Dataset, epochs: int) -> Dataset:
    """The dataset `epochs` times over, each row with an `index` of its own: other turns are drawn for it each time."""
    whole = concatenate_datasets([dataset] * epochs)
    return whole.add_column("index", list(range(len(whole))))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `python -m` and `accelerate launch -m`."""
    return run(make_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
