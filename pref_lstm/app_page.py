"""The app's page, drawn by gradio (the extra `app`). It needs nothing from outside."""

from __future__ import annotations

import html
from collections.abc import Iterator
from functools import partial
from typing import Any

try:
    import gradio as gr
except ImportError as error:
    raise ImportError(
        "The app's page needs gradio, and it is not installed. Install it with `pip install 'pref-lstm[app]'`."
    ) from error

from .app_session import App, Conversation
from .inspection import StoredView
from .trace_plot import plot_trace

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
            yield [talk, number + 1, *chats, plot_trace(talk.trace) if talk.trace else None]

        # The open conversation quotes what was said: once something is forgotten, a new one starts.
        def forget(id: int, talk: Conversation, visit: str, name: str, number: int) -> list[Any]:
            app.store.forget(talk.user, id)
            return restart(visit, name, number)

        def forget_all(talk: Conversation, visit: str, name: str, number: int) -> list[Any]:
            app.store.forget_all(app.user(visit, name))  # also one whose memory can't be read
            return restart(visit, name, number)

        with panel:

            @gr.render(inputs=talk, triggers=[version.change])  # type: ignore[untyped-decorator]
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


def serve(app: App) -> None:
    """Show the page until it is stopped."""
    build(app).launch(theme=THEME, css=CSS, footer_links=["gradio"])
