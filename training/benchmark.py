"""
`pref-lstm benchmark`: what the memory costs, beside the same LM without it, text, retrieval and prompt tuning.

    pref-lstm benchmark --json benchmark.json --plot benchmark.png

Everything is timed in one run, in rounds: what is compared runs in turns, so that other load on the machine hits it
alike. Ratios are medians of the ratios within a round. It takes about 8 minutes on two idle cores.

* write: detector, encoder and update of one turn.
* time to first token: from a message (100-token prompt) to the first token of its answer, with the memory acting, with
  all N preferences as text before the prompt, and with the nearest of N preferences as a reminder.
* training: a step of the memory against a step of PEFT's prompt tuning with the same number of soft tokens.
* mixed batch: 16 tokens for each of 8 users with memories of their own, at once against one by one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pref_lstm.modeling.defaults import load_default_detector, load_default_model


def make_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="pref-lstm benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="folder or hub id of an adapter (default: the shipped one)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to this file")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the time to first token to this PNG file")
    return parser


def run(options: argparse.Namespace) -> int:
    """Measure, print tables, and write what was asked for."""
    from .benchmark_report import print_costs
    from .benchmark_run import run_benchmark

    figures: dict[str, Any] = run_benchmark(load_default_model(options.model)[0], load_default_detector())
    print_costs(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if options.plot:
        from .benchmark_plot import plot_costs

        plot_costs(figures, options.plot)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command."""
    return run(make_parser().parse_args(argv))
