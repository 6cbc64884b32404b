"""Code blocks of Markdown pages, and a folder in which their commands run on tiny models."""

from __future__ import annotations

import io
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from pref_lstm.modeling import resolve
from pref_lstm.modeling.resolve import DEFAULT_ENCODER, DEFAULT_LM, resolve_model
from pref_lstm.training import benchmark_run
from pref_lstm.training.recipe import Recipe, load_recipe
from prefeval_folder import write_adapter, write_oasst, write_prefeval
from tiny import ENCODER_WIDTH, KeywordDetector

from pref_lstm.cli import main

ROOT = Path(__file__).resolve().parent.parent
# Options that win over those of the page, because the tiny data hold no more.
_LIMITS = {"evaluate-memory": ["--num-preferences", "1", "2", "--num-turns", "0", "2"]}
_BLOCK = re.compile(r"^(?:<!-- not run: ([^\n]+) -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, and why it is not run, if it isn't."""

    language: str
    text: str
    not_run: str | None


def blocks(page: Path, *languages: str) -> list[Block]:
    """The page's blocks of these languages, in order."""
    found = [
        Block(kind, text, reason or None) for reason, kind, text in _BLOCK.findall(page.read_text(encoding="utf-8"))
    ]
    return [block for block in found if block.language in languages]


def commands(block: Block) -> Iterator[list[str]]:
    """The words of each command of a shell block."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def run_command(words: list[str]) -> None:
    """Run `pref-lstm …`. Of `python examples/…`, which the examples' own test runs, check that it is there."""
    if words[0] == "pref-lstm":
        try:
            assert main([*words[1:], *_LIMITS.get(words[1], [])]) == 0, words
        except SystemExit as stop:  # `--help`
            assert stop.code == 0, words
    else:
        assert words[0] == "python" and words[1].startswith("examples/"), words
        source = (ROOT / words[1]).read_text(encoding="utf-8")
        assert all(f'"{word}"' in source for word in words[2:] if word.startswith("--")), words


def tiny_world(folder: Path, monkeypatch) -> None:
    """Make `folder` the current one, with the files that pages name, and let every default be a tiny model."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    adapter = write_adapter(folder / "models")
    write_prefeval(folder / "prefeval")
    write_oasst(folder / "en-validation.jsonl")
    (folder / "training").symlink_to(ROOT / "training")
    places = {DEFAULT_LM: str(folder / "models" / "lm"), DEFAULT_ENCODER: str(folder / "models" / "encoder")}
    monkeypatch.setattr(resolve, "resolve_model", lambda name: places.get(name) or resolve_model(name))
    monkeypatch.setattr("pref_lstm.modeling.defaults.ADAPTER_FOLDER", str(adapter))
    for module in ("defaults", "modeling_pref_lstm"):
        monkeypatch.setattr(f"pref_lstm.modeling.{module}.load_detector", KeywordDetector)
    monkeypatch.setattr("pref_lstm.training.train_memory.load_recipe", _tiny_recipe)
    monkeypatch.setattr(benchmark_run, "COUNTS", (1, 10))
    for name in ("WRITE_ROUNDS", "FIRST_TOKEN_ROUNDS", "BATCH_ROUNDS", "TRAINING_ROUNDS"):
        monkeypatch.setattr(benchmark_run, name, 3)
    monkeypatch.setattr(sys, "stdin", io.StringIO("I love green tea.\n/memory\n/why\n/quit\n"))


def _tiny_recipe(name: str) -> Recipe:
    parts = asdict(load_recipe(name))
    parts["memory"] |= {"cell": "pref_lstm", "num_key_layers": 0, "num_relation_layers": 0, "num_soft_tokens": 6,
                        "memory_size": 12, "encoder_hidden_size": ENCODER_WIDTH}  # fmt: skip
    parts["training"] |= {"max_steps": 2, "per_device_train_batch_size": 2}
    parts["data"] |= {"conversations": {"first": 4}}
    parts["reconstruction"] = {}
    return Recipe(**parts)
