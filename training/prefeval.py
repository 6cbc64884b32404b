"""PrefEval (arXiv 2502.09597): questions whose good answer depends on what the user stated earlier."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import load_dataset
from pref_lstm.modeling.turn import Turn

FORMS = ("explicit", "choice", "persona")
_FOLDERS = {
    "explicit": "explicit_preference",
    "choice": "implicit_preference/choice-based",
    "persona": "implicit_preference/persona-driven",
}


@dataclass(frozen=True)
class PrefEvalItem:
    """
    One question with the preference that matters for it.

    Args:
        topic (`str`): PrefEval's topic; shuffling within it is the harder control.
        preference (`str`): In the user's words.
        question (`str`): What the user asks later.
        turns (`tuple[Turn, …]`): How the user made the preference known, in the form that was asked for.
        answer (`str`, *optional*): A published answer that follows the preference; empty where there is none.
        options (`tuple[str, …]`, *optional*): Of multiple choice, the one that follows the preference first.
    """

    topic: str
    preference: str
    question: str
    turns: tuple[Turn, ...]
    answer: str = ""
    options: tuple[str, ...] = ()


def load_prefeval(data: str | Path, form: str = "explicit") -> list[PrefEvalItem]:
    """
    Load every question.

    Args:
        data (`str` or `Path`):
            A folder in PrefEval's own layout (`benchmark_dataset/…`, and published answers in `reminder_answers/`), or
            the id of a data set on the Hub (`siyanzhao/prefeval_explicit` and its siblings; they hold no answers).
        form (`str`, defaults to `"explicit"`):
            `"explicit"` (the preference as one turn), `"choice"` or `"persona"` (a dialogue that shows it).

    Raises:
        FileNotFoundError: if `data` is neither.
        ValueError: if the data lack that form.
    """
    folder = Path(data) / "benchmark_dataset"
    if folder.is_dir():
        return _from_folder(folder, form)
    name = str(data)
    if Path(name).exists() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise FileNotFoundError(
            f"Expected a folder with `benchmark_dataset/` or a hub id such as 'siyanzhao/prefeval_explicit', got "
            f"'{name}'. Check the path."
        )
    return [_item(row["topic"], row, form, {}, {}) for row in load_dataset(name, split="train")]


def load_inter_turns(data: str | Path) -> list[Turn]:
    """The user turns of PrefEval's `filtered_inter_turns.json`, in order, none of them about a preference."""
    path = Path(data) / "benchmark_dataset" / "filtered_inter_turns.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected unrelated turns in '{path}', found no such file. Use `--num-turns 0`, or a folder in PrefEval's "
            "own layout."
        )
    turns = []
    for dialogue in json.loads(path.read_text(encoding="utf-8")):
        agent = ""
        for message in dialogue["conversation"]:
            if message["role"] == "user" and message["content"].strip():
                turns.append(Turn(message["content"], agent))
            agent = message["content"] if message["role"] == "assistant" else ""
    return turns


def _from_folder(folder: Path, form: str) -> list[PrefEvalItem]:
    paths = sorted((folder / _FOLDERS[form]).glob("*.json"))
    if not paths:
        raise ValueError(
            f"Expected one file per topic in '{folder / _FOLDERS[form]}', found none. Leave `{form}` out of `--form`."
        )
    items = []
    for path in paths:
        answers = _by_question(folder.parent / "reminder_answers" / path.name)
        options = _by_question(folder / "mcq_options" / path.name)
        rows = json.loads(path.read_text(encoding="utf-8"))
        items += [_item(path.stem, row, form, answers, options) for row in rows]
    return items


def _by_question(path: Path) -> dict[str, Any]:
    rows = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return {row["question"]: row for row in rows}


def _item(
    topic: str, row: Mapping[str, Any], form: str, answers: Mapping[str, Any], options: Mapping[str, Any]
) -> PrefEvalItem:
    question = row["question"]
    return PrefEvalItem(
        topic,
        row["preference"],
        question,
        tuple(_turns(row, form)),
        answers.get(question, {}).get("response_to_q", "").strip(),
        tuple(options.get(question, {}).get("classification_task_options", ())),
    )


def _turns(row: Mapping[str, Any], form: str) -> Iterable[Turn]:
    if form == "explicit":
        return [Turn(row["preference"])]
    dialogue = row.get("conversation") or {}
    if form == "choice" and "user_selection" in dialogue:
        return [Turn(dialogue["query"]), Turn(dialogue["user_selection"], dialogue["assistant_options"])]
    # On the Hub a shorter dialogue is filled up with None.
    said = [dialogue[key] for key in sorted(k for k in dialogue if k.isdigit()) if dialogue[key]]
    if form == "persona" and said:
        agents = ["", *(pair["assistant"] for pair in said[:-1])]
        return [Turn(pair["user"], agent) for pair, agent in zip(said, agents, strict=True)]
    raise ValueError(
        f"Expected a `conversation` of the form '{form}', got the keys {sorted(dialogue)}. Is this the right data set "
        f"for `--form {form}`?"
    )
