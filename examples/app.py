"""
Chat with and without memory side by side, look into the memory, and forget.

    pip install 'pref-lstm[app]'
    python examples/app.py                                      # users of this visit, forgotten when its page closes
    python examples/app.py --store ~/.local/share/pref_lstm     # the users of `pref-lstm chat`, kept

It prints the page's address. The page needs nothing from outside.
"""

from __future__ import annotations

import argparse
import html
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import gradio as gr

from pref_lstm import (
    ChatSession,
    Detector,
    PrefLSTMForCausalLM,
    Turn,
    UserStore,
    load_default_detector,
    load_default_model,
)
from pref_lstm.inspection import StoredView, describe_stored
from pref_lstm.trace import TraceStep, trace_message
from pref_lstm.trace_plot import plot_trace

USERS = ["Ada", "Ben"]
EXAMPLES = [
    "I can't stand seafood, even the smell of fish puts me off.",
    "I always travel by train, I hate flying.",
    "What should I order at the harbour restaurant tonight?",
    "How should I get from Berlin to Paris next week?",
]
CSS = """
.users {align-items: center}
.users button {height: 44px}
#with .icon-button-wrapper, #without .icon-button-wrapper {display: none}
.stored {align-items: center; border-bottom: 1px solid var(--border-color-primary); padding: 0}
.stored .about {opacity: 0.75; font-size: var(--text-sm)}
"""
# Fonts of the visitor's own machine: the default ones would be fetched.
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
CHAT = {"height": 360, "buttons": [], "render_markdown": False}
MODEL = {"concurrency_limit": 1, "concurrency_id": "model"}  # one at a time, as tokenizers ask for


@dataclass
class Conversation:
    """One user's open conversation: the same messages to the LM with the memory and without."""

    user: str
    with_memory: ChatSession
    without: ChatSession
    trace: list[TraceStep] = field(default_factory=list)


class App:
    """What the page shows and does. The memories are in the store; a conversation lasts as long as its page."""

    def __init__(
        self, model: PrefLSTMForCausalLM, detector: Detector, store: UserStore, is_shared: bool, max_new_tokens: int
    ) -> None:
        self.model, self.detector, self.store = model, detector, store
        self.is_shared, self.max_new_tokens = is_shared, max_new_tokens

    def start(self, visit: str, name: str) -> Conversation:
        """A new conversation with one of the visit's users; what the user's memory holds stays."""
        user = name if self.is_shared else f"{visit} {name}"
        state = self.store.state(user)
        with_memory, without = (
            ChatSession(self.model, self.detector, state, use_memory, self.max_new_tokens)
            for use_memory in (True, False)
        )
        return Conversation(user, with_memory, without)

    def say(self, text: str, talk: Conversation) -> Iterator[tuple[list[Any], list[Any], str]]:
        """The chats without and with memory, and what the memory did; again with each piece of an answer."""
        before = self.store.state(talk.user)
        record = self.store.observe(talk.user, Turn(text, talk.with_memory.last_agent_line))
        talk.with_memory.state = after = self.store.state(talk.user)
        talk.trace.append(trace_message(self.model, text, record.detection, before, after))
        done = "stored" if record.written else "known already" if record.detection.is_preference else "not stored"
        acting = self.store.why(talk.user, text)
        note = f"**{done}** ({record.detection.reason}) · " + (
            f"**turn {acting[0].record.id} acts on the answer**" if acting else "no stored turn acts on the answer"
        )
        sessions = (talk.without, talk.with_memory)
        without, with_memory = chats = [_shown(session, text) for session in sessions]
        for chat, session in zip(chats, sessions, strict=True):
            chat.append({"role": "assistant", "content": "…"})
            yield without, with_memory, note
            for piece in _pieces(session.answer, text):
                chat[-1]["content"] = _as_text(piece)
                yield without, with_memory, note

    def stored(self, talk: Conversation) -> list[StoredView]:
        """What the user's memory holds."""
        return describe_stored(self.model, self.store.state(talk.user), self.store.list(talk.user))

    def leave(self, visit: str) -> None:
        """Forget a visit's users."""
        for user in [] if self.is_shared else self.store.users():
            if user.startswith(f"{visit} "):
                self.store.forget_all(user)


def _shown(session: ChatSession, text: str) -> list[dict[str, str]]:
    said = [(message.role, message.content) for message in session.messages]
    return [{"role": role, "content": _as_text(content)} for role, content in [*said, ("user", text)]]


def _as_text(content: str) -> str:
    """Gradio keeps tags even where it renders no Markdown: an image in a message would be fetched."""
    return html.escape(content, quote=False)


def _pieces(answer: Callable[..., Any], text: str) -> Iterator[str]:
    """What there is of an answer, each time that it has grown."""
    queue: SimpleQueue[str | Exception | None] = SimpleQueue()

    def run() -> None:
        try:
            answer(text, queue.put)
            queue.put(None)
        except Exception as error:  # it is the page's to show
            queue.put(error)

    Thread(target=run, daemon=True).start()
    so_far = ""
    while (piece := queue.get()) is not None:
        if isinstance(piece, Exception):
            raise piece
        so_far += piece
        yield so_far.strip()


def _describe(view: StoredView) -> str:
    """One stored turn as HTML; what users say is text."""
    about = [f"turn {view.id}", view.age if view.age == "0 s" else f"{view.age} ago"]
    if view.slot is not None:
        about += [f"slot {view.slot}", f"strength {view.strength:.2f}", f"holds “{view.words}”"]
    return f"<b>{html.escape(view.said)}</b><div class='about'>{html.escape(' · '.join(about))}</div>"


def build(app: App) -> gr.Blocks:
    """The page."""
    config = app.model.memory_config
    with gr.Blocks(title="Pref-LSTM", analytics_enabled=False) as page:
        visit, talk, message, version = gr.State(), gr.State(), gr.State(), gr.State(0)
        gr.Markdown(
            f"## A memory for a frozen LM\n{config.base_model_name_or_path} answers twice: as it is, and reading "
            f"{config.num_soft_tokens} soft tokens from the memory of what this user likes."
        )
        with gr.Row(elem_classes="users"):
            user = gr.Dropdown(
                USERS, value=USERS[0], label="User: pick one or type a new name", allow_custom_value=True
            )
            anew = gr.Button("New conversation", scale=0, min_width=200)
            erase = gr.Button("Forget everything", variant="stop", scale=0, min_width=200)
        with gr.Row():
            without = gr.Chatbot(label="without memory", elem_id="without", **CHAT)
            with_memory = gr.Chatbot(label="with memory", elem_id="with", **CHAT)
        note = gr.Markdown("", elem_id="note")
        said = gr.Textbox(show_label=False, placeholder="Say what you like, or ask something.", submit_btn="Send")
        gr.Examples(EXAMPLES, said, label="For instance")
        gr.Markdown("### What the memory holds")
        panel = gr.Column(elem_id="memory")
        gr.Markdown("### Gates and slots over this conversation")
        picture = gr.Plot(show_label=False)
        shown = [talk, version, without, with_memory, note, picture]

        def restart(visit: str, name: str, number: int) -> list[Any]:
            return [app.start(visit, name), number + 1, [], [], "", None]

        def enter(name: str, number: int, request: gr.Request) -> list[Any]:
            return [request.session_hash, *restart(str(request.session_hash), name, number)]

        def leave(request: gr.Request) -> None:
            app.leave(str(request.session_hash))

        def say(text: str, talk: Conversation, number: int) -> Iterator[list[Any]]:
            if not text.strip():
                return
            for chats in app.say(text, talk):
                yield [talk, number, *chats, None]
            yield [talk, number + 1, *chats, plot_trace(talk.trace)]

        # The open conversation quotes what was said: once something is forgotten, a new one starts.
        def forget(id: int, talk: Conversation, visit: str, name: str, number: int) -> list[Any]:
            app.store.forget(talk.user, id)
            return restart(visit, name, number)

        def forget_all(talk: Conversation, visit: str, name: str, number: int) -> list[Any]:
            app.store.forget_all(talk.user)
            return restart(visit, name, number)

        with panel:

            @gr.render(inputs=talk, triggers=[version.change])
            def list_stored(current: Conversation) -> None:
                views = app.stored(current)
                if not views:
                    gr.Markdown("Nothing yet.")
                for view in views:
                    with gr.Row(elem_classes="stored", key=view.id):
                        gr.HTML(_describe(view), min_width=240)
                        button = gr.Button("Forget", size="sm", scale=0, min_width=90)
                    button.click(partial(forget, view.id), [talk, visit, user, version], shown, **MODEL)

        page.load(enter, [user, version], [visit, *shown], **MODEL)
        # The box is free for the next message while this one is answered.
        sent = said.submit(lambda text: (text, ""), said, [message, said])
        sent.then(say, [message, talk, version], shown, **MODEL)
        gr.on([user.change, anew.click], restart, [visit, user, version], shown, **MODEL)
        erase.click(forget_all, [talk, visit, user, version], shown, **MODEL)
        page.unload(leave)
    return page


def main(argv: Sequence[str] | None = None) -> None:
    """Load everything and serve the page until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder or hub id of an adapter (default: the shipped one)")
    parser.add_argument("--store", type=Path, metavar="DIR", help="keep memories in this folder")
    parser.add_argument("--max-new-tokens", type=int, default=80, help="length of an answer (default: %(default)s)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.store or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        model, _ = load_default_model(options.model)
        detector = load_default_detector()
        with UserStore(folder / "memories.sqlite", model, detector) as store:
            app = App(model, detector, store, options.store is not None, options.max_new_tokens)
            build(app).launch(theme=THEME, css=CSS, footer_links=["gradio"])


if __name__ == "__main__":
    main()
