"""`pref-lstm demo`: a conversation on the embedded default models, each answer with and without memory."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table

from pref_lstm.modeling.defaults import load_default_model
from pref_lstm.modeling.turn import Turn

from .inspection import describe_slots
from .session import ChatSession

TURNS = (
    Turn("I can't stand seafood, even the smell of fish puts me off."),
    Turn("How far is the moon from the earth?"),
    Turn("My sister loves horror films."),
    Turn("I always travel by train, I hate flying."),
    Turn("Please keep things vegetarian-friendly when my friends visit, I prefer cooking with lots of garlic."),
)
QUESTIONS = (
    "What should I order at the harbour restaurant tonight?",
    "How should I get from Berlin to Paris next week?",
    "What is the capital of Norway?",
)


def make_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(prog="pref-lstm demo", description=__doc__)
    parser.add_argument("--model", help="folder or hub id of an adapter (default: the shipped one)")
    parser.add_argument("--max-new-tokens", type=int, default=60, help="length of an answer (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what was shown to this file")
    return parser


def run(options: argparse.Namespace) -> int:
    """Play the conversation."""
    console = Console()
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), console=console, transient=True) as progress:
        progress.add_task("loading the language model, the memory and the detector")
        model, is_trained = load_default_model(options.model)
        detector = model.detector
    name = model.memory_config.base_model_name_or_path
    kind = "trained" if is_trained else "UNTRAINED: it copies words and nothing was learned yet"
    console.print(
        f"[bold]{name}[/], frozen, with a memory of {model.memory_config.num_soft_tokens} soft tokens ({kind})"
    )

    shown: dict[str, Any] = {"lm": name, "trained": is_trained, "turns": [], "answers": []}
    state = model.initial_state()
    table = Table("the user says", "detector", "why", title="What goes into the memory")
    for turn in TURNS:
        [detection] = detector.detect([turn])
        if detection.is_preference:
            state = model.write([turn], state)
        table.add_row(turn.user, "[green]written[/]" if detection.is_preference else "left out", detection.reason)
        shown["turns"].append({"user": turn.user, "written": detection.is_preference, "reason": detection.reason})
    console.print(table)

    slots = describe_slots(model, state)
    words = Table("slot", "words it holds", title="What the memory holds")
    for slot in slots:
        words.add_row(str(slot.index), slot.words)
    console.print(words)
    shown["slots"] = [{"slot": slot.index, "words": slot.words} for slot in slots]

    for question in QUESTIONS:
        row = {"question": question}
        panels = []
        for use_memory, title in ((False, "without memory"), (True, "with memory")):
            session = ChatSession(
                model, detector, state=state, use_memory=use_memory, max_new_tokens=options.max_new_tokens
            )
            with console.status(f"{question} ({title})"):
                answer = session.answer(question)
            row[title] = answer.text
            if use_memory:
                title += _which(answer, slots)
            panels.append(Panel(answer.text, title=title))
        console.rule(f"[bold]{question}")
        grid = Table.grid(expand=True, padding=(0, 1))
        grid.add_column(ratio=1)
        grid.add_column(ratio=1)
        grid.add_row(*panels)
        console.print(grid)
        shown["answers"].append(row)
    if options.json:
        options.json.write_text(json.dumps(shown, indent=2, ensure_ascii=False) + "\n")
    return 0


def _which(answer: Any, slots: list[Any]) -> str:
    if not answer.memory_acted:
        return " (kept out)"
    if answer.slot_weights is None:
        return ""
    best = max(slots, key=lambda slot: float(answer.slot_weights[slot.index]))
    return f" (slot {best.index})"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command."""
    return run(make_parser().parse_args(argv))
