"""`pref-lstm chat`: talk to the LM, and look into, correct or erase what it remembers of you."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pref_lstm.modeling.defaults import load_default_model
from pref_lstm.modeling.turn import Turn

from .conversation_log import ConversationLog
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
    parser.add_argument(
        "--rebuild", action="store_true", help="write what is stored anew first: for another adapter, or after damage"
    )
    parser.add_argument("--max-new-tokens", type=int, default=128, help="length of an answer (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the conversation to this file")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="also draw gates and slots over the conversation to this PNG file"
    )
    return parser


def run(options: argparse.Namespace) -> int:
    """Talk until the input ends."""
    console = Console()
    log = ConversationLog(options.json)
    with console.status("loading the language model, the memory and the detector"):
        model, is_trained = load_default_model(options.model)
        detector = model.detector
    if not is_trained:
        console.print("[yellow]The memory is UNTRAINED: it copies words and nothing was learned yet.[/]")
    options.store.mkdir(parents=True, exist_ok=True)
    with UserStore(options.store / "memories.sqlite", model, detector) as store:
        session = ChatSession(model, detector, max_new_tokens=options.max_new_tokens)
        if options.rebuild:
            store.rebuild(options.user)
        session.state = store.state(options.user)  # a name or a memory that is wrong is so from the start
        chat = _Chat(console, store, options.user, session, log)
        console.print(f"[dim]{_HELP}[/]")
        try:
            chat.talk()
        finally:
            log.write()
            if options.plot:
                from .trace_plot import plot_trace

                plot_trace(chat.trace).savefig(options.plot, dpi=120)
    return 0


class _Chat:
    """One user at one terminal: the session, and the store behind it."""

    def __init__(
        self, console: Console, store: UserStore, user: str, session: ChatSession, log: ConversationLog
    ) -> None:
        self.console, self.store, self.user, self.session, self.log = console, store, user, session, log
        self.trace: list[TraceStep] = []
        # How many exchanges there were before each turn that was let in, by the turn's id.
        self.exchanges_before: dict[int, int] = {}

    def talk(self) -> None:
        """Answer line by line until the input ends."""
        while True:
            try:
                text = self.console.input("[bold]you:[/] ").strip()
            except EOFError:
                return
            if text in ("/quit", "/exit"):
                return
            try:
                if text.startswith("/"):
                    self.command(text)
                elif text:
                    self.say(text)
            except KeyboardInterrupt:
                self.console.print("\n[dim](interrupted; /memory shows what is stored)[/]")
            except (ValueError, OSError) as error:  # of this line: a locked file, half a character, no slots to tell of
                self.console.print(f"\n[red]{escape(str(error))}[/]")

    def say(self, text: str) -> None:
        """Store what the user said if it is a preference, then answer."""
        before = self.store.state(self.user)
        record = self.store.observe(self.user, Turn(text, self.session.last_agent_line))
        if record.id is not None:
            self.exchanges_before[record.id] = len(self.log.rows)
        self.session.state = after = self.store.state(self.user)
        detection = record.detection
        model = self.session.model
        steps = [trace_message(model, text, detection, before, after)] if after.cell == "slots" else []
        verdict = "written" if record.written else "known already" if detection.is_preference else "not stored"
        self.console.print(f"[dim]  detector: {verdict} ({escape(detection.reason)})[/]")
        self.console.print("[bold]agent:[/] ", end="")
        answer = self.session.answer(text, on_text=lambda piece: self.console.out(piece, end="", highlight=False))
        self.console.print()
        row = {"user": text, "written": record.written, "reason": detection.reason, "agent": answer.text}
        self.log.rows.append(row)
        self.trace += steps

    def command(self, line: str) -> None:
        """One of the commands that look into the memory."""
        name, *argument = line.split(maxsplit=1)
        if name == "/memory":
            self.show_memory()
        elif name == "/why":
            self.show_why()
        elif name == "/forget":
            self.forget("".join(argument))
        else:
            self.console.print(f"[dim]{_HELP}[/]")

    def show_memory(self) -> None:
        """What is stored: the turns, also those that no slot holds any more, and the words that the slots hold."""
        records = self.store.history(self.user)
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
        rows = self.log.rows
        influences = self.store.why(self.user, rows[-1]["user"]) if rows else []
        if not influences:
            self.console.print("[dim]  The memory did not act on the last answer.[/]")
        for influence in influences:
            self.console.print(f"  turn {influence.record.id}: weight {influence.weight:.2f}")

    def forget(self, argument: str) -> None:
        """Erase one turn, as if it had never been said."""
        if not argument.isdecimal():
            self.console.print("[red]/forget needs the number of a turn, as /memory shows it.[/]")
            return
        number = int(argument)
        try:
            self.store.forget(self.user, number)
        except LookupError as error:
            self.console.print(f"[red]{escape(str(error))}[/]")
            return
        except (OSError, KeyboardInterrupt):  # the turn may be gone from the ledger already
            self.take_back(number)
            self.session.state = self.store.state(self.user)
            raise
        said_since = self.take_back(number)
        self.session.state = self.store.state(self.user)
        back = " The conversation goes back to before it." if said_since else ""
        self.console.print(f"[dim]  Turn {number} is forgotten.{back}[/]")

    def take_back(self, number: int) -> bool:
        """
        Bring the conversation back to before a turn was said, and return whether anything had been said since.

        Answers since then may quote the turn. If it was said in an earlier conversation, all answers may.
        """
        keep = self.exchanges_before.pop(number, 0)
        said_since = keep < len(self.log.rows)
        self.exchanges_before = {id: min(before, keep) for id, before in self.exchanges_before.items()}
        self.session.rewind(keep)
        del self.log.rows[keep:], self.trace[keep:]
        self.log.write()  # a file of an earlier run may hold the words
        return said_since


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command."""
    return run(make_parser().parse_args(argv))
