"""`pref-lstm train-classifier`: stage 1, the classifier that decides which turns enter the memory."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pref_lstm.hub_cards import CardCallback, CardFacts, GivenFacts, write_card
from pref_lstm.modeling.modeling_classifier import PreferenceClassifier
from pref_lstm.modeling.resolve import resolve_encoder
from transformers import AutoTokenizer, HfArgumentParser

from .calibrate_threshold import calibrate_threshold
from .classifier_data import classifier_data
from .classifier_trainer import (
    ClassifierTrainer,
    ClassifierTrainingArguments,
    HiddenStateCollator,
    cache_hidden_states,
    predict_probabilities,
)
from .data_sources import ALPSBENCH, BANK, OASST1, SYNTHETIC
from .resume import check_same_run, train_from_last

# Fields of `PreferenceClassifierConfig`. `paper`: arXiv 2507.03042, section on the classifier.
RECIPES: dict[str, dict[str, Any]] = {
    "default": {"num_tuned_layers": 2, "hidden_state_indices": [4, 6], "pooling": "attention"},
    "paper": {"num_tuned_layers": 0, "hidden_state_indices": [-1], "pooling": "cls"},
}
ENCODERS = {"default": "sentence-transformers/all-MiniLM-L6-v2", "paper": "prajjwal1/bert-medium"}


@dataclass
class ClassifierArguments:
    """
    What is trained, on what.

    Args:
        recipe (`str`, *optional*, defaults to `"default"`): `"default"` or `"paper"`.
        encoder (`str`, *optional*): Hub id or folder of another encoder than the recipe's.
        oasst (`str`, *optional*): File of OASST1 messages, for real negatives and for the threshold.
        alpsbench (`str`, *optional*): File of AlpsBench turns.
        alpsbench_weight (`float`, *optional*, defaults to 1.0): Weight of an AlpsBench turn in the loss.
    """

    recipe: str = field(default="default", metadata={"help": "Model and pooling.", "choices": list(RECIPES)})
    encoder: str | None = field(default=None, metadata={"help": "Another encoder than the recipe's."})
    oasst: str | None = field(default=None, metadata={"help": "File of OASST1 messages (JSONL)."})
    alpsbench: str | None = field(default=None, metadata={"help": "File of AlpsBench turns (JSONL)."})
    alpsbench_weight: float = field(default=1.0, metadata={"help": "Weight of an AlpsBench turn in the loss."})


def make_parser() -> HfArgumentParser:
    """The command's arguments: [`ClassifierArguments`] and [`ClassifierTrainingArguments`]."""
    return HfArgumentParser((ClassifierArguments, ClassifierTrainingArguments), prog="pref-lstm train-classifier")


def main(argv: list[str] | None = None) -> PreferenceClassifier:
    """Trains, calibrates the threshold on validation turns, and saves model, tokenizer and card."""
    choice, args = make_parser().parse_args_into_dataclasses(argv)
    name = choice.encoder or ENCODERS[choice.recipe]
    torch.manual_seed(args.seed)
    model = PreferenceClassifier.from_encoder(name, **RECIPES[choice.recipe])
    tokenizer = AutoTokenizer.from_pretrained(resolve_encoder(name))
    turns = classifier_data(
        Path(choice.oasst) if choice.oasst else None,
        Path(choice.alpsbench) if choice.alpsbench else None,
        choice.alpsbench_weight,
        args.data_seed or 0,
    )
    output = Path(args.output_dir)
    with args.main_process_first(desc="encoding"):
        names = ("seed", "data_seed", "bf16", "learning_rate", "per_device_train_batch_size")
        check_same_run(output, {**asdict(choice), **{name: getattr(args, name) for name in names}})
        cached = {
            split: cache_hidden_states(
                part,
                model,
                tokenizer,
                output / f"{split}-{_key(part, name, model, args.bf16)}.arrow",
                bfloat16=args.bf16,
            )
            for split, part in turns.items()
        }
    collator = HiddenStateCollator(
        model.config.encoder_config.hidden_size, model.config.encoder_config.num_hidden_layers + 1, model.states_read()
    )
    sources = [SYNTHETIC, BANK, *([OASST1] if choice.oasst else []), *([ALPSBENCH] if choice.alpsbench else [])]
    facts = CardFacts(GivenFacts(languages=["en"], data=sources))
    trainer = ClassifierTrainer(
        model=model,
        args=args,
        train_dataset=cached["train"],
        eval_dataset=cached["validation"],
        data_collator=collator,
        processing_class=tokenizer,
        callbacks=[CardCallback(facts)],
    )
    if args.resume_from_checkpoint:  # one that is named
        trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    else:
        train_from_last(trainer)
    probabilities = predict_probabilities(model, cached["validation"], collator)
    validation = turns["validation"]
    model.config.threshold = calibrate_threshold(probabilities, validation["labels"][:], validation["source"][:])
    if args.should_save:
        half = {name: value.half() for name, value in model.state_dict().items()}
        model.save_pretrained(output, state_dict=half)
        tokenizer.save_pretrained(output)
        write_card("classifier", output, facts)
        facts.save(output)
    return model


def _key(part: Any, name: str, model: PreferenceClassifier, bf16: bool) -> str:
    """Names the cached states after all that they depend on."""
    rows = [part[column][:] for column in part.column_names]
    content = json.dumps([rows, name, model.states_read(), model.config.max_length, bf16])
    return hashlib.sha256(content.encode()).hexdigest()[:12]


if __name__ == "__main__":
    main()
