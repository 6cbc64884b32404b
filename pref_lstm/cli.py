"""The `pref-lstm` command: builds the parsers and hands over, nothing else."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

# Command, module, one line of help. Modules are imported when their command runs: `--help` stays quick.
COMMANDS = {
    "demo": ("pref_lstm.demo", "a short conversation, each answer with and without memory"),
    "chat": ("pref_lstm.chat", "talk to the LM and look into the memory"),
    "evaluate-memory": ("pref_lstm.training.evaluate_memory", "how much of a stored preference reaches the answers"),
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
    module = import_module(COMMANDS[arguments.command][0])
    options = module.make_parser(f"pref-lstm {arguments.command}").parse_args(rest)
    try:
        return int(module.run(options))
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except (ValueError, FileNotFoundError, ImportError) as error:
        print(f"pref-lstm {arguments.command}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
