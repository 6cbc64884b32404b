"""The `pref-lstm` command: builds the parsers and hands over, nothing else."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module

from transformers.utils import logging

# Command, module, one line of help. Modules are imported when their command runs: `--help` stays quick.
COMMANDS = {
    "demo": ("pref_lstm.demo", "a short conversation, each answer with and without memory"),
    "chat": ("pref_lstm.chat", "talk to the LM and look into the memory"),
    "app": ("pref_lstm.app", "the same in a browser, with memory and without side by side"),
    "synthesize": ("pref_lstm.training.synthesize", "write training data: turns or conversations"),
    "train-classifier": ("pref_lstm.training.train_classifier", "stage 1: which turns reveal a preference"),
    "train-memory": ("pref_lstm.training.train_memory", "stage 2: the memory of a frozen LM"),
    "evaluate-classifier": ("pref_lstm.training.evaluate_classifier", "measure a detector on labelled turns"),
    "evaluate-memory": ("pref_lstm.training.evaluate_memory", "how much of a stored preference reaches the answers"),
    "evaluate-conflicts": ("pref_lstm.training.evaluate_conflicts", "what a repeated or reversed preference does"),
    "benchmark": ("pref_lstm.training.benchmark", "what the memory costs, beside text, retrieval and prompt tuning"),
    "publish": ("pref_lstm.publish", "adapter and classifier with their cards to the Hub"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the process's exit status."""
    parser = argparse.ArgumentParser(
        prog="pref-lstm", description="A preference memory for a frozen causal language model."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, (_, help_line) in COMMANDS.items():
        commands.add_parser(name, help=help_line, add_help=False)
    arguments, rest = parser.parse_known_args(argv)
    # One line for each warning that a user can act on; libraries' progress bars and notes to developers stay out.
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module="peft")
    logging.disable_progress_bar()
    try:
        outcome = import_module(COMMANDS[arguments.command][0]).main(rest)
        return outcome if isinstance(outcome, int) else 0
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError) as error:  # timeouts, full disks and the Hub's errors are OSErrors
        print(f"pref-lstm {arguments.command}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
