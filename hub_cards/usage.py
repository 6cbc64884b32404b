"""The card's usage block: lines that are run on the saved model before anybody reads them."""

from __future__ import annotations

import io
import warnings
from contextlib import redirect_stdout
from pathlib import Path

from .facts import Usage

_CODE = {
    "adapter": """\
from pref_lstm import ChatSession, PrefLSTMForCausalLM

model = PrefLSTMForCausalLM.from_pretrained("{name}")  # LM, memory and detector
chat = ChatSession(model, model.detector, max_new_tokens=40)
print(chat.observe("I always travel by train, I hate flying.").reason)
print(chat.answer("How should I get from Berlin to Paris next week?").text)
""",
    "classifier": """\
import pref_lstm  # registers the class: no remote code
from transformers import pipeline

classify = pipeline("text-classification", "{name}")
for text in ("I always travel by train, I hate flying.", "How far is the moon from the earth?"):
    print(classify(text)[0]["label"])
""",
}


def run_usage(kind: str, folder: str | Path, repo_id: str) -> Usage:
    """
    Run a card's lines on a saved model.

    Args:
        kind (`str`): `"adapter"` or `"classifier"`.
        folder (`str` or `Path`): The saved model, which stands in for the repository while the lines run.
        repo_id (`str`): The repository that the card names.

    Returns:
        [`Usage`]: the lines as the card shows them, and what they printed.
    """
    printed = io.StringIO()
    code = compile(_CODE[kind].format(name=Path(folder).as_posix()), "<model card>", "exec")
    with redirect_stdout(printed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(code, {"__name__": "model_card"})
    return Usage(_CODE[kind].format(name=repo_id), printed.getvalue())
