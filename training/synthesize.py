"""`pref-lstm synthesize`: write training data to a folder, `--kind turns` or `--kind conversations`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset

from . import synthesize_turns
from .bank import load_bank
from .recipe import load_recipe, recipe_names
from .synthesize_conversations import select_conversations

KINDS = ("turns", "conversations")


def main(argv: Sequence[str] | None = None) -> int:
    """Hand over to the kind's own options."""
    parser = argparse.ArgumentParser(
        prog="pref-lstm synthesize",
        description=__doc__,
        epilog="The other options depend on the kind: `pref-lstm synthesize --kind turns --help`.",
        add_help=False,
    )
    parser.add_argument("--kind", choices=KINDS)
    options, rest = parser.parse_known_args(argv)
    if options.kind is None:
        if {"-h", "--help"} & set(rest):
            parser.print_help()
            parser.exit()
        parser.error(f"--kind is required, one of {', '.join(KINDS)}")
    if options.kind == "turns":
        synthesize_turns.main(list(rest))
        return 0
    return _conversations(rest)


def _conversations(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="pref-lstm synthesize --kind conversations",
        description="Write a recipe's training conversations as JSON lines.",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON lines")
    parser.add_argument("--recipe", default="default", help=f"a JSON file or one of {recipe_names()}")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    rows = select_conversations(load_recipe(options.recipe), load_bank(), options.seed)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows).to_json(options.output, force_ascii=False)
    sources = Counter(row["source"] for row in rows)
    topics = len({row["topic"] for row in rows})
    print(f"{len(rows):,} conversations on {topics} topics in {options.output}: {dict(sources)}")
    return 0
