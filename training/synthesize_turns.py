"""`pref-lstm synthesize --kind turns`: writes labelled single turns for the classifier."""

from __future__ import annotations

import argparse
from pathlib import Path

from datasets import Dataset, DatasetDict

from .turn_grammar import SPLITS, load_families, load_topics, write_turns

# The paper's size and balance.
WITHOUT_PREFERENCE, WITH_PREFERENCE = 4_915, 3_537
_SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}

_CARD = """\
---
license: apache-2.0
language: en
task_categories: [text-classification]
pretty_name: Preference turns
---

# Preference turns

Single conversation turns (an agent's line and the user's reply), labelled by whether the user reveals a preference of
their own. {method}

| split | turns | no preference | preference | templates | topics |
|---|---|---|---|---|---|
{rows}

Columns: `agent` (may be empty), `user`, `preference` (1 or 0), `family`, `template`, `topic`.

* {families} template families, {topics} topics. No user template and no topic is in two splits; agent lines are shared.
* No two turns of a split differ only in word order, case, punctuation, emoji or drawn-out letters.
* What counts is what users reveal about themselves: likes, dislikes, habits, constraints, and how they want to be
  answered. What they quote, ask, suppose or say of others does not count.
* Made with seed {seed}; the same seed writes the same turns.

Limits: English, with a few mixed-language sentences. The sentences are made of patterns; real conversations are more
varied, and a classifier trained on these turns alone does not transfer to them.
"""


def synthesize_turns(
    without_preference: int = WITHOUT_PREFERENCE, with_preference: int = WITH_PREFERENCE, seed: int = 0
) -> DatasetDict:
    """
    Labelled turns in three splits (8 : 1 : 1), free of template and topic leaks.

    Args:
        without_preference (`int`, *optional*, defaults to 4,915): Turns that reveal none, over all splits.
        with_preference (`int`, *optional*, defaults to 3,537): Turns that reveal one, over all splits.
        seed (`int`, *optional*, defaults to 0): The same seed gives the same turns.

    Returns:
        [`~datasets.DatasetDict`]: Columns `agent`, `user`, `preference`, `family`, `template`, `topic`.

    Raises:
        ValueError: if fewer than ten turns of a kind are asked for.
    """
    for name, count in (("without_preference", without_preference), ("with_preference", with_preference)):
        if count < 10:
            raise ValueError(
                f"`{name}` must be at least 10, so that each split gets a turn, got {count}. Ask for more."
            )
    counts = [_share_out(count) for count in (without_preference, with_preference)]
    return DatasetDict(
        {split: Dataset.from_list(write_turns(split, counts[0][split], counts[1][split], seed)) for split in SPLITS}
    )


def _share_out(count: int) -> dict[str, int]:
    held_out = {split: round(count * _SHARES[split]) for split in SPLITS[1:]}
    return {"train": count - sum(held_out.values()), **held_out}


def data_card(turns: DatasetDict, seed: int, language_model: str | None = None) -> str:
    """The README of a folder of synthesized turns."""
    method = "Written by a combinatorial grammar of hand-written templates; no language model took part."
    if language_model is not None:
        method = f"Written by a combinatorial grammar of hand-written templates, then reworded by {language_model}."
    rows = []
    for split, part in turns.items():
        labels = part["preference"][:]
        rows.append(
            f"| {split} | {len(part):,} | {labels.count(0):,} | {labels.count(1):,} "
            f"| {len(part.unique('template'))} | {len(part.unique('topic'))} |"
        )
    return _CARD.format(
        method=method, rows="\n".join(rows), families=len(load_families()), topics=len(load_topics()), seed=seed
    )


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(prog="pref-lstm synthesize --kind turns", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for the JSONL files and their data card")
    parser.add_argument("--without-preference", type=int, default=WITHOUT_PREFERENCE, help="turns that reveal none")
    parser.add_argument("--with-preference", type=int, default=WITH_PREFERENCE, help="turns that reveal one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--language-model", help="hub id or folder of an instruct LM that rewords the training turns")
    parser.add_argument("--batch-size", type=int, default=16, help="turns that the language model rewords at a time")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Writes `train.jsonl`, `validation.jsonl`, `test.jsonl` and `README.md` into the output folder."""
    args = make_parser().parse_args(argv)
    turns = synthesize_turns(args.without_preference, args.with_preference, args.seed)
    args.output.mkdir(parents=True, exist_ok=True)
    if args.language_model is not None:
        from .reword_turns import load_generator, reword_turns

        progress = args.output / "reworded.jsonl"
        turns["train"] = reword_turns(turns["train"], load_generator(args.language_model), progress, args.batch_size)
    for split, part in turns.items():
        part.to_json(args.output / f"{split}.jsonl", force_ascii=False)
    (args.output / "README.md").write_text(data_card(turns, args.seed, args.language_model), encoding="utf-8")
    print(f"{sum(map(len, turns.values())):,} turns in {args.output}")


if __name__ == "__main__":
    main()
