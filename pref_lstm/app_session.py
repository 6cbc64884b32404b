"""What the app shows and does, whatever draws it: two answers to each message, and each user's memory."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Thread
from typing import Any

from pref_lstm.modeling import Detector, PrefLSTMForCausalLM, Turn

from .inspection import StoredView, describe_stored
from .session import ChatSession
from .trace import TraceStep, trace_message
from .user_store import UserStore


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

    def user(self, visit: str, name: str) -> str:
        """The store's name of one of the visit's users."""
        return name if self.is_shared else f"{visit} {name}"

    def start(self, visit: str, name: str) -> Conversation:
        """A new conversation with one of the visit's users; what the user's memory holds stays."""
        user = self.user(visit, name)
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
        done = "stored" if record.written else "known already" if record.detection.is_preference else "not stored"
        note = f"**{done}** ({record.detection.reason})"
        if after.cell == "slots":  # the other cells blend all turns
            talk.trace.append(trace_message(self.model, text, record.detection, before, after))
            acting = self.store.why(talk.user, text)
            note += " · " + (
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
