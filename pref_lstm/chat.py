"""`pref-lstm chat`: talk to the LM, and look into, correct or erase what it remembers of you."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pref_lstm.modeling.defaults import load_default_model
from pref_lstm.modeling.turn import Turn

from .inspection import describe_stored
from .session import ChatSession
from .trace import TraceStep, trace_message
from .user_store import UserStore

_HELP = "/memory: what is stored · /why: what acted on the last answer · /forget N: erase turn N · /help · /quit"


def make_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(prog="pref-lstm chat", description=__doc__, epilog=_HELP)
    parser.add_argument("--user", required=True, metavar="NAME", help="whose memory it is")
    parser.add_argument(
        "--store",
        type=Path,
        default=Path.home() / ".local" / "share" / "pref_lstm",
        metavar="DIR",
        help="folder of the users' memories (default: %(default)s)",
    )
    parser.add_argument("--model", help="folder or hub id of an adapter (default: the shipped one)")
    parser.add_argument("--max-new-tokens", type=int, default=128, help="length of an answer (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the conversation to this file")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="also draw gates and slots over the conversation to this PNG file"
    )
    return parser


def run(options: argparse.Namespace) -> int:
    """Talk until the input ends."""
    console = Console()
    with console.status("loading the language model, the memory and the detector"):
        model, is_trained = load_default_model(options.model)
        detector = model.detector
    if not is_trained:
        console.print("[yellow]The memory is UNTRAINED: it copies words and nothing was learned yet.[/]")
    options.store.mkdir(parents=True, exist_ok=True)
    log: list[dict[str, Any]] = []
    with UserStore(options.store / "memories.sqlite", model, detector) as store:
        chat = _Chat(console, store, options.user, ChatSession(model, detector, max_new_tokens=options.max_new_tokens))
        console.print(f"[dim]{_HELP}[/]")
        while True:
            try:
                text = console.input("[bold]you:[/] ").strip()
            except EOFError:
                break
            if text in ("/quit", "/exit"):
                break
            if not text:
                continue
            if text.startswith("/"):
                chat.command(text)
                continue
            try:
                log.append(chat.say(text))
            except KeyboardInterrupt:
                console.print("\n[dim](interrupted; what you said is stored if it was let in)[/]")
    if options.json:
        options.json.write_text(json.dumps(log, indent=2, ensure_ascii=False) + "\n")
    if options.plot:
        from .trace_plot import plot_trace

        plot_trace(chat.trace).savefig(options.plot, dpi=120)
    return 0


class _Chat:
    """One user at one terminal: the session, and the store behind it."""

    def __init__(self, console: Console, store: UserStore, user: str, session: ChatSession) -> None:
        self.console, self.store, self.user, self.session = console, store, user, session
        self.last_message = ""
        self.trace: list[TraceStep] = []

    def say(self, text: str) -> dict[str, Any]:
        """Store what the user said if it is a preference, then answer."""
        before = self.store.state(self.user)
        record = self.store.observe(self.user, Turn(text, self.session.last_agent_line))
        self.session.state = after = self.store.state(self.user)
        detection = record.detection
        if after.cell == "slots":
            self.trace.append(trace_message(self.session.model, text, detection, before, after))
        verdict = "written" if record.written else "known already" if detection.is_preference else "not stored"
        self.console.print(f"[dim]  detector: {verdict} ({escape(detection.reason)})[/]")
        self.console.print("[bold]agent:[/] ", end="")
        answer = self.session.answer(text, on_text=lambda piece: self.console.out(piece, end="", highlight=False))
        self.console.print()
        self.last_message = text
        return {"user": text, "written": record.written, "reason": detection.reason, "agent": answer.text}

    def command(self, line: str) -> None:
        """One of the commands that look into the memory."""
        name, _, argument = line.partition(" ")
        if name == "/memory":
            self.show_memory()
        elif name == "/why":
            self.show_why()
        elif name == "/forget":
            self.forget(argument.strip())
        else:
            self.console.print(f"[dim]{_HELP}[/]")

    def show_memory(self) -> None:
        """What is stored: the turns, and the words that the slots hold."""
        records = self.store.list(self.user)
        if not records:
            self.console.print("[dim]  Nothing is stored.[/]")
            return
        table = Table("turn", "what you said", "age", "slot", "words it holds", "strength")
        for view in describe_stored(self.session.model, self.store.state(self.user), records):
            slot = ("-", "-", "-") if view.slot is None else (str(view.slot), view.words or "", f"{view.strength:.2f}")
            table.add_row(str(view.id), escape(view.said), view.age, *map(escape, slot))
        self.console.print(table)

    def show_why(self) -> None:
        """Which stored turns acted on the last answer."""
        influences = self.store.why(self.user, self.last_message) if self.last_message else []
        if not influences:
            self.console.print("[dim]  The memory did not act on the last answer.[/]")
        for influence in influences:
            self.console.print(f"  turn {influence.record.id}: weight {influence.weight:.2f}")

    def forget(self, argument: str) -> None:
        """Erase one turn, as if it had never been said."""
        if not argument.isdecimal():
            self.console.print("[red]/forget needs the number of a turn, as /memory shows it.[/]")
            return
        try:
            self.store.forget(self.user, int(argument))
        except LookupError as error:
            self.console.print(f"[red]{escape(str(error))}[/]")
            return
        self.session.state = self.store.state(self.user)
        self.trace.clear()  # a picture of earlier messages would show the forgotten words
        self.console.print(f"[dim]  Turn {argument} is forgotten.[/]")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command."""
    return run(make_parser().parse_args(argv))
