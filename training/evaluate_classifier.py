"""`pref-lstm evaluate-classifier`: the figures of a classifier, or of the rules, on labelled turns."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pref_lstm.hub_cards import describe_hardware
from pref_lstm.modeling.load_detector import load_detector

from .classifier_metrics import evaluate_detector
from .json_lines import read_json_lines


def read_rows(path: Path) -> list[dict[str, Any]]:
    """
    The rows of a JSONL file of labelled turns.

    Raises:
        ValueError: on a row that is not `{"agent": text, "user": text, "preference": 0 or 1}`, or if there is none.
    """
    rows = read_json_lines(path, ("agent", "user", "preference"), _what_is_wrong)
    if not rows:
        raise ValueError(f"{path.name} holds no turns. Pass a JSONL file with one labelled turn a line.")
    return rows


def _what_is_wrong(row: dict[str, Any]) -> str:
    return "" if row["preference"] in (0, 1) else f"`preference` = {row['preference']!r} instead of 0 or 1"


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(prog="pref-lstm evaluate-classifier", description=__doc__)
    parser.add_argument("--model", help="folder, hub id or `heuristic`; left out: the shipped default")
    parser.add_argument("--data", type=Path, required=True, help='JSONL of {"agent", "user", "preference": 0/1}')
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Prints and returns what [`evaluate_detector`] measured, and `hardware`."""
    args = make_parser().parse_args(argv)
    detector = load_detector(args.model)
    figures = evaluate_detector(detector, read_rows(args.data), getattr(detector, "threshold", None))
    figures["hardware"] = describe_hardware("cpu")  # where `load_detector` leaves it
    text = json.dumps(figures, indent=2)
    print(text)
    if args.json is not None:
        args.json.write_text(text + "\n", encoding="utf-8")
    return figures


if __name__ == "__main__":
    main()
