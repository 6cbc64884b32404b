"""
`pref-lstm train-memory`: train a memory for a frozen LM.

    pref-lstm train-memory --recipe default --oasst en.jsonl --output-dir runs/default
    accelerate launch --multi_gpu --num_processes 2 -m pref_lstm.training.train_memory ...
    pref-lstm train-memory --recipe soft_prompt ...   # docs/recipes.md lists them

A second run with the same folder goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from pref_lstm.hub_cards import CardCallback, CardFacts, DataSource, GivenFacts, write_card
from pref_lstm.modeling.cell_slots import SlotCell
from pref_lstm.modeling.cell_vector import VectorCell
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM
from pref_lstm.modeling.resolve import DEFAULT_LM, load_language_model
from transformers import set_seed

from .arguments import (
    CategoryTrainingArguments,
    KeyTrainingArguments,
    MemoryTrainingArguments,
    RelationTrainingArguments,
    RetrievalTrainingArguments,
)
from .bank import Bank, bank_fingerprint, load_bank
from .categories import label_threads
from .conversations import bank_restatements
from .data_sources import BANK, OASST1
from .oasst import load_oasst_prompts, load_oasst_threads
from .outputs import check_outputs
from .recipe import Recipe, load_recipe, recipe_names
from .resume import check_same_run
from .retrieval_sampler import RetrievalSampler
from .synthesize_conversations import prepare_conversations, select_conversations
from .train_answers import train_answers
from .train_categories import train_categories
from .train_keys import key_topics, train_keys
from .train_relations import train_relations
from .train_retrieval import train_retrieval

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
    parser.add_argument(
        "--bank", nargs="+", type=Path, default=[], metavar="FILE", help="preferences to learn from (default: ours)"
    )
    parser.add_argument("--max-steps", type=int, help="stop after so many steps (default: the recipe's)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--use-cpu", action="store_true", help="leave accelerators alone")
    parser.add_argument("--bf16", action="store_true", help="autocast the LM (GPUs, CPUs with AMX: faster)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what the run printed to this file")
    return parser


def run(options: argparse.Namespace) -> int:
    """Train, and save the adapter with its card to `OUTPUT_DIR/adapter`."""
    recipe, bank = load_recipe(options.recipe), load_bank(tuple(options.bank))
    check_outputs(options.json)
    set_seed(options.seed)
    lm, tokenizer = load_language_model(options.lm)
    fixed = {"lm": lm.name_or_path, "bank": bank_fingerprint(tuple(options.bank)), "oasst": options.oasst}
    with PartialState().main_process_first():
        check_same_run(
            options.output_dir, {"recipe": asdict(recipe), "seed": options.seed, "bf16": options.bf16, **fixed}
        )
    model = PrefLSTMForCausalLM.from_language_model(lm, tokenizer, recipe.memory_config())
    source = DataSource(", ".join(path.name for path in options.bank), BANK.use) if options.bank else BANK
    facts = CardFacts(GivenFacts(languages=["en"], data=[source, OASST1]))
    train = _by_conversations if recipe.categories is None else _by_categories
    report: dict[str, Any] = {
        "recipe": options.recipe,
        "description": recipe.description,
        "lm": lm.name_or_path,
        "seed": options.seed,
        "bank": bank_fingerprint(tuple(options.bank)),
        "bf16": options.bf16,
        **train(model, recipe, bank, CardCallback(facts), options),
        "threads": torch.get_num_threads(),
    }
    report["train_seconds"] = round(sum(report["stage_seconds"].values()), 1)
    model.memory.half()  # half the file; it is loaded as float32 again
    if PartialState().is_main_process:
        adapter = options.output_dir / "adapter"
        model.save_pretrained(adapter)
        write_card("adapter", adapter, facts)
        facts.save(adapter)
        text = json.dumps(report, indent=2)
        (options.output_dir / "training.json").write_text(text + "\n")
        if options.json:
            options.json.write_text(text + "\n")
        print(f"{recipe.description}\nsaved '{adapter}' after {report['train_seconds']} s of training")
    return 0


def _by_conversations(
    model: PrefLSTMForCausalLM, recipe: Recipe, bank: Bank, callback: CardCallback, options: argparse.Namespace
) -> dict[str, Any]:
    """Up to five stages: what finds a stored turn, what judges and compares it, and twice what the LM reads of it."""
    arguments = _stage(MemoryTrainingArguments, "", recipe.training, options)
    if isinstance(model.memory.cell, SlotCell):
        key_topics(bank)  # raises now, not after the teacher
    unrelated = [
        row["user"][:_MAX_PROMPT_CHARACTERS] for row in load_oasst_prompts(options.oasst) if row["split"] == "train"
    ]
    started = time.perf_counter()
    with arguments.main_process_first(desc="caching the teacher's outputs"), model.disable_memory():
        folder = options.data_dir or options.output_dir / "data"
        sources = {"answers": select_conversations(recipe, bank, options.seed)}
        if recipe.reconstruction:
            sources["reconstruction"] = bank_restatements(bank)
        conversations = {
            stage: prepare_conversations(rows, recipe, model.language_model, model.tokenizer, folder, options.bf16)
            for stage, rows in sources.items()
        }
    prepared = time.perf_counter()
    seconds, memory = {}, model.memory
    if memory.key_encoder is not None:
        stage = _stage(KeyTrainingArguments, "keys", recipe.keys, options)
        seconds["keys"] = train_keys(memory.key_encoder, model.encoder, bank, unrelated, stage)["train_runtime"]
        # It is done: the turns of a batch are encoded once, without gradients.
        memory.key_encoder.requires_grad_(False)
    if isinstance(memory.cell, SlotCell):
        stage = _stage(RetrievalTrainingArguments, "retrieval", recipe.retrieval, options)
        sampler = RetrievalSampler(model.encoder, bank, unrelated)
        seconds["retrieval"] = train_retrieval(memory.cell, sampler, stage)["train_runtime"]
    if memory.relation_encoder is not None:
        stage = _stage(RelationTrainingArguments, "relations", recipe.relations, options)
        seconds["relations"] = train_relations(memory.relation_encoder, model.encoder, bank, stage)["train_runtime"]
        memory.relation_encoder.requires_grad_(False)
    if recipe.reconstruction:
        stage = _stage(MemoryTrainingArguments, "reconstruction", recipe.reconstruction, options)
        first = train_answers(model, conversations["reconstruction"], bank, recipe, stage, callback)
        seconds["reconstruction"] = first["seconds"]
    last = train_answers(model, conversations["answers"], bank, recipe, arguments, callback)
    seconds["answers"] = last.pop("seconds")
    return {
        "conversations": {stage: len(rows) for stage, rows in conversations.items()},
        "prepare_seconds": round(prepared - started, 1),
        "stage_seconds": {name: round(value, 1) for name, value in seconds.items()},
        **last,
    }


def _by_categories(
    model: PrefLSTMForCausalLM, recipe: Recipe, bank: Bank, callback: CardCallback, options: argparse.Namespace
) -> dict[str, Any]:
    """The paper's one stage; the LM takes no part in it."""
    arguments = _stage(CategoryTrainingArguments, "", recipe.categories or {}, options)
    started = time.perf_counter()
    sequences = label_threads(model.encoder, bank.topics, load_oasst_threads(options.oasst, "train"))
    prepared = time.perf_counter()
    cell = model.memory.cell
    assert isinstance(cell, VectorCell)  # load_recipe checks it
    found = train_categories(cell, model.tuner.embed, sequences, len(bank.topics), arguments, callback)
    seconds = round(found.pop("seconds"), 1)
    return {"prepare_seconds": round(prepared - started, 1), "stage_seconds": {"categories": seconds}, **found}


def _stage(kind: type[Any], name: str, values: dict[str, Any], options: argparse.Namespace) -> Any:
    """The arguments of a stage. Checkpoints of the last one lie in the output folder, others' in one of their own."""
    steps = {} if options.max_steps is None else {"max_steps": options.max_steps}
    folder = str(options.output_dir / name)
    # One precision for all stages: accelerate keeps the first one it hears of.
    fixed = {"seed": options.seed, "use_cpu": options.use_cpu, "bf16": options.bf16, "report_to": "none"}
    return kind(folder, **fixed | values | steps)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `python -m` and `accelerate launch -m`."""
    return run(make_parser().parse_args(argv))


if __name__ == "__main__":
    status = main()
    if PartialState().num_processes > 1:
        # Left to the end of the interpreter, threads of the process group abort one run in some eighty that is done.
        PartialState().wait_for_everyone()
        PartialState().destroy_process_group()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
