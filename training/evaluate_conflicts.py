"""
`pref-lstm evaluate-conflicts`: what the memory does with a turn that repeats, reverses or adds to an earlier one.

    pref-lstm evaluate-conflicts --data training/eval_conflicts.jsonl --json conflicts.json

Each row's two turns are written one after the other into an empty memory, past the detector. What was done is read from
the memory before and after the second one alone: nothing changed (same), what it held was replaced (reversed), or it
was added beside it (different).
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from pref_lstm.modeling.defaults import load_default_model
from pref_lstm.modeling.memory_state import MemoryState
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM
from pref_lstm.modeling.turn import Turn
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import binomtest

from .json_lines import read_json_lines

RELATIONS = ("same", "reversed", "different")
_FIELDS = ("first", "second", "relation")
_BATCH_SIZE = 32

Row = dict[str, str]


def read_rows(path: Path) -> list[Row]:
    """
    The rows `{"first", "second", "relation"}` of a JSONL file; blank lines are left out.

    Raises:
        ValueError: on a line that holds no such row, or if there is none. The message names the line.
    """
    rows = read_json_lines(path, _FIELDS, _what_is_wrong)
    if not rows:
        raise ValueError(f"{path.name} holds no pairs of turns. Pass a JSONL file with one pair a line.")
    return rows


def _what_is_wrong(row: dict[str, Any]) -> str:
    for name in _FIELDS:
        value = row[name]
        if not isinstance(value, str) or not value.strip() or (name == "relation" and value not in RELATIONS):
            return f"`{name}` = {value!r}" + f" instead of {' / '.join(RELATIONS)}" * (name == "relation")
    return ""


def outcomes(before: MemoryState, after: MemoryState) -> list[str]:
    """
    What a write did to each row of a memory with slots, one of `RELATIONS`.

    Args:
        before, after ([`MemoryState`]): Of the same users, around one write.
    """
    filled = before["strengths"] > 0  # (batch, num_slots)
    is_same = torch.ones_like(filled[:, 0])
    is_kept = torch.ones_like(filled[:, 0])
    for name, old in before.tensors.items():
        equal = old == after[name]
        is_same &= equal.flatten(1).all(dim=1) if equal.dim() > 1 else equal
        if old.shape[:2] == filled.shape:  # one value or vector per slot
            is_kept &= (equal.flatten(2).all(dim=2) if equal.dim() > 2 else equal).logical_or(~filled).all(dim=1)
    return [
        "same" if same else "different" if kept else "reversed"
        for same, kept in zip(is_same.tolist(), is_kept.tolist(), strict=True)
    ]


def classify(model: PrefLSTMForCausalLM, rows: Sequence[Row]) -> Iterator[str]:
    """
    What the memory did with the second turn of each row, in order.

    Raises:
        ValueError: if the memory has no slots to look at.
    """
    if model.memory_config.cell != "slots":
        raise ValueError(
            f"Conflicts are read from slots, got a memory of cell '{model.memory_config.cell}', which blends all turns "
            "into one vector. Use an adapter of cell 'slots'."
        )
    for start in range(0, len(rows), _BATCH_SIZE):
        batch = rows[start : start + _BATCH_SIZE]
        before = model.write([Turn(row["first"]) for row in batch], model.initial_state(len(batch)))
        yield from outcomes(before, model.write([Turn(row["second"]) for row in batch], before))


def evaluate_conflicts(model: PrefLSTMForCausalLM, rows: Sequence[Row]) -> dict[str, Any]:
    """
    Three-way accuracy.

    Returns:
        `{"n", "accuracy", "accuracy_low", "accuracy_high", "confusion"}`: a Wilson 95 % interval, and
        `confusion[relation][outcome]`, the number of rows of that relation with which the memory did that.
    """
    found = list(track(classify(model, rows), description="writing pairs of turns", total=len(rows), transient=True))
    pairs = Counter(zip((row["relation"] for row in rows), found, strict=True))
    right = binomtest(sum(pairs[relation, relation] for relation in RELATIONS), len(rows))
    interval = right.proportion_ci(method="wilson")
    return {
        "n": len(rows),
        "accuracy": right.statistic,
        "accuracy_low": float(interval.low),
        "accuracy_high": float(interval.high),
        "confusion": {relation: {outcome: pairs[relation, outcome] for outcome in RELATIONS} for relation in RELATIONS},
    }


def print_figures(figures: dict[str, Any]) -> None:
    """The confusion as a table, with the accuracy below it."""
    table = Table("the second turn is", *(f"taken as {outcome}" for outcome in RELATIONS))
    for relation, counts in figures["confusion"].items():
        table.add_row(relation, *(str(counts[outcome]) for outcome in RELATIONS))
    console = Console()
    console.print(table)
    low, high = figures["accuracy_low"], figures["accuracy_high"]
    console.print(f"accuracy {figures['accuracy']:.3f} ({low:.3f} to {high:.3f}) on {figures['n']} pairs")


def make_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="pref-lstm evaluate-conflicts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="folder or hub id of an adapter (default: the shipped one)")
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="JSONL, see above")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command."""
    options = make_parser().parse_args(argv)
    rows = read_rows(options.data)
    figures = evaluate_conflicts(load_default_model(options.model)[0], rows)
    print_figures(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0
