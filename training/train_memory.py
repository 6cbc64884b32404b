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
from pref_lstm.hub_cards import CardCallback, CardFacts, GivenFacts, write_card
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM
from pref_lstm.modeling.resolve import DEFAULT_LM, load_language_model
from transformers import set_seed
from transformers.trainer_utils import get_last_checkpoint

from .arguments import MemoryTrainingArguments
from .bank import bank_fingerprint
from .collator import MemoryCollator
from .data_sources import BANK, OASST1
from .oasst import load_oasst_prompts
from .recipe import load_recipe, recipe_names
from .retrieval_sampler import RetrievalSampler
from .synthesize_conversations import prepare_conversations
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
    """Train, and save the adapter with its card to `OUTPUT_DIR/adapter`."""
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
    prompts = [row["user"] for row in load_oasst_prompts(options.oasst) if row["split"] == "train"]
    sampler = RetrievalSampler(model.encoder, [text[:_MAX_PROMPT_CHARACTERS] for text in prompts])
    config = model.memory_config
    collator = MemoryCollator(
        tokenizer,
        model.encoder,
        sampler,
        int(config.memory_token_id or 0),
        config.num_soft_tokens,
        recipe.data["num_turns"],
    )
    facts = CardFacts(GivenFacts(languages=["en"], data=[BANK, OASST1]))
    trainer = MemoryTrainer(
        model=model.language_model,
        args=arguments,
        train_dataset=repeated(dataset, recipe.data["epochs"]),
        data_collator=collator,
        callbacks=[CardCallback(facts)],
    )
    folder = str(options.output_dir)
    result = trainer.train(resume_from_checkpoint=get_last_checkpoint(folder) if Path(folder).is_dir() else None)
    report: dict[str, Any] = {
        "recipe": options.recipe,
        "lm": lm.name_or_path,
        "seed": options.seed,
        "bank": bank_fingerprint(),
        "conversations": len(dataset),
        "steps": trainer.state.global_step,
        "prepare_seconds": round(prepared - started, 1),
        "train_seconds": round(result.metrics["train_runtime"], 1),
        "threads": torch.get_num_threads(),
        "log": [row for row in trainer.state.log_history if "loss" in row],
    }
    if arguments.process_index == 0:
        adapter = options.output_dir / "adapter"
        model.save_pretrained(adapter)
        write_card("adapter", adapter, facts)
        facts.save(adapter)
        text = json.dumps(report, indent=2)
        (options.output_dir / "training.json").write_text(text + "\n")
        if options.json:
            options.json.write_text(text + "\n")
        print(f"saved '{adapter}' after {report['train_seconds']} s of training")
    return 0


def repeated(dataset: Dataset, epochs: int) -> Dataset:
    """The dataset `epochs` times over, each row with an `index` of its own: other turns are drawn for it each time."""
    whole = concatenate_datasets([dataset] * epochs)
    return whole.add_column("index", list(range(len(whole))))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `python -m` and `accelerate launch -m`."""
    return run(make_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
