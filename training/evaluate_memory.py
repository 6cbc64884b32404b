"""
`pref-lstm evaluate-memory`: how much of a stored preference reaches the answers, beside text, retrieval and controls.

    pref-lstm evaluate-memory --data ../shared/data/prefeval --oasst en-validation.jsonl --json memory.json

Every figure is right memory against shuffled memory (another preference of the same topic). With all 469 questions, the
text and retrieval methods and one memory, it takes about 40 minutes on two cores (1.8 million tokens through
SmolLM2-135M at 940 a second, 35,000 generated ones, and 6 minutes of writing memories):

* the ceilings (text and reminder, each right, shuffled and of another topic): 8 minutes, whatever is asked for;
* each further method or memory: 3 to 4 minutes for its first number of stored preferences, 1 for each further one, as
  what is read twice is scored once;
* what the limits below bound, as they say; implicit forms: 4 minutes each.

Results are kept in `--cache` as they come, so a killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .memory_methods import ADAPTER_METHODS, METHODS
from .outputs import check_outputs
from .prefeval import FORMS

# What it costs on two cores (about 940 tokens/s through SmolLM2-135M) with the default.
LIMITS = (
    ("long", 64, "text_all and retrieval_top5, for more than one preference: 6 minutes"),
    ("mcq", 100, "multiple choice: 3 minutes"),
    ("mention", 100, "greedy answers of 40 tokens: 3 minutes"),
    ("open", 100, "turns between with the detector forced open: 3 minutes"),
    ("oracle", 40, "fitting soft tokens by gradient: 20 minutes"),
    ("judge", 50, "whole answers for the judge, 128 tokens: 5 minutes, and the judge's own time"),
)


def make_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="pref-lstm evaluate-memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="folder or hub id of an adapter (default: the shipped one)")
    parser.add_argument(
        "--data", required=True, help="folder in PrefEval's layout, or a hub id such as siyanzhao/prefeval_explicit"
    )
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, metavar="METHOD",
        help=f"rows of the table, of {' '.join(METHODS)} (default: all but oracle, adapters where a folder is given)",
    )  # fmt: skip
    parser.add_argument(
        "--num-preferences", nargs="+", type=int, default=[1, 10, 50], metavar="N",
        help="preferences that the user has stated (default: 1 10 50)",
    )  # fmt: skip
    parser.add_argument(
        "--num-turns", nargs="+", type=int, default=[0, 3, 5, 10, 300], metavar="N",
        help="unrelated turns between, for the least number of preferences (default: 0 3 5 10 300)",
    )  # fmt: skip
    parser.add_argument(
        "--form", nargs="+", choices=FORMS, default=["explicit"],
        help="how preferences were stated; the implicit forms are measured for the memory (default: explicit)",
    )  # fmt: skip
    parser.add_argument("--oasst", type=Path, metavar="FILE", help="OASST1 messages as JSONL, for harm")
    parser.add_argument(
        "--judge", metavar="LM", help="chat model that judges whole answers: PrefEval's generation task"
    )
    parser.add_argument("--seed", type=int, default=0, help="of every draw (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to this file")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw recovery to this PNG file")
    parser.add_argument("--cache", type=Path, metavar="FILE", help="keeps results, so that a killed run goes on")
    parser.add_argument(
        "--batch-tokens", type=int, default=1024, help="tokens of one forward pass (default: %(default)s)"
    )
    parser.add_argument(
        "--bf16", action="store_true", help="score in bfloat16 (GPUs, CPUs with AMX: faster, good to about 0.001 nats)"
    )
    for method in ADAPTER_METHODS:
        name = method.replace("_", "-")
        parser.add_argument(f"--{name}-model", metavar="M", help=f"adapter of the method {method}")
    limits = parser.add_argument_group("limits: how many questions each part asks; 0 leaves it out")
    limits.add_argument("--limit", type=int, help="of everything, at least 1 (default: all questions)")
    for option, default, what in LIMITS:
        limits.add_argument(f"--{option}-limit", type=int, default=default, help=f"{what} (default: %(default)s)")
    return parser


def run(options: argparse.Namespace) -> int:
    """Measure, print a table, and write what was asked for."""
    from .memory_report import print_report
    from .memory_run import MemoryRun

    check_outputs(options.json, options.plot)
    report: dict[str, Any] = MemoryRun(options).report()
    print_report(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if options.plot:
        from .memory_plot import plot_recovery

        plot_recovery(report, options.plot)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command."""
    return run(make_parser().parse_args(argv))
