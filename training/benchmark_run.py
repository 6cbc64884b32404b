"""Every figure of the benchmark, part by part."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM
from pref_lstm.modeling.shared_pass import detect_and_encode
from pref_lstm.modeling.turn import Detector, Turn
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .bank import load_bank
from .benchmark_answers import AnswerCosts
from .benchmark_timing import Call, Timings, take_turns
from .benchmark_training import TrainingCosts
from .history_writer import HistoryWriter

COUNTS = (1, 10, 100, 1000)
WRITE_ROUNDS = 50
FIRST_TOKEN_ROUNDS = 25
BATCH_ROUNDS = 7
TRAINING_ROUNDS = 12
_MOST_SECONDS = 30.0  # of one call; what takes longer in all gets three rounds
_METHODS = {"memory": "first_token_ratio", "text": "text_first_token_ratio", "retrieval": "retrieval_first_token_ratio"}


def run_benchmark(model: PrefLSTMForCausalLM, detector: Detector) -> dict[str, Any]:
    """
    Measure everything. It ends with training steps, which change the weights of `model`'s memory.

    Returns:
        `dict`: `machine`; `lm`; `num_soft_tokens`; `prompt_tokens`; `write_ms` and its parts; `first_token_ms` of the
        LM without memory; `first_token_ratio`, `text_first_token_ratio` and `retrieval_first_token_ratio` to that, by
        the number of stored preferences; `first_token_growth` (the memory with most stored against fewest);
        `text_tokens`, and `text_left_out`: preferences for which the LM's context had no room; `state_bytes`;
        `mixed_batch_speedup`; `training_speed_ratio` (examples per second, prompt tuning = 1); and `quartiles` over
        rounds of every ratio.
    """
    bank = load_bank().preferences
    preferences = [p.forms[n].user for n in range(2) for p in bank]
    write = _timed("write", _write_calls(model, detector, preferences), WRITE_ROUNDS)
    costs = AnswerCosts(model, preferences[: max(COUNTS)], COUNTS)
    first = _timed("time to first token", costs.calls(), FIRST_TOKEN_ROUNDS)
    users = _timed("mixed batch", costs.user_calls(), BATCH_ROUNDS)
    training = _timed("training step", TrainingCosts(model).calls(), TRAINING_ROUNDS)
    return {
        "machine": machine(),
        "lm": model.memory_config.base_model_name_or_path,
        "num_soft_tokens": model.memory_config.num_soft_tokens,
        "prompt_tokens": costs.prompt_tokens,
        "write_ms": write.milliseconds("write"),
        "write_parts_ms": {name: write.milliseconds(name) for name in ("detect and encode", "update")},
        "first_token_ms": first.milliseconds("bare"),
        **{name: {str(n): first.ratio(f"{m} {n}", "bare") for n in COUNTS} for m, name in _METHODS.items()},
        "first_token_growth": first.ratio(f"memory {max(COUNTS)}", f"memory {min(COUNTS)}"),
        "text_tokens": {str(n): len(text.ids) for n, text in costs.texts.items()},
        "text_left_out": {str(n): n - text.count for n, text in costs.texts.items()},
        "state_bytes": costs.states[max(COUNTS)].num_bytes,
        "mixed_batch_speedup": users.ratio("one by one", "batch"),
        "training_speed_ratio": training.ratio("prompt tuning", "memory"),
        "quartiles": {
            **{name: {str(n): first.quartiles(f"{m} {n}", "bare") for n in COUNTS} for m, name in _METHODS.items()},
            "first_token_growth": first.quartiles(f"memory {max(COUNTS)}", f"memory {min(COUNTS)}"),
            "mixed_batch_speedup": users.quartiles("one by one", "batch"),
            "training_speed_ratio": training.quartiles("prompt tuning", "memory"),
        },
    }


def machine() -> str:
    """The processor, its threads in use, and the versions that decide on speed."""
    cpuinfo = Path("/proc/cpuinfo")  # `platform.processor()` is empty or an architecture on Linux
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}"


def _timed(part: str, calls: dict[str, Call], rounds: int) -> Timings:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task(part, total=rounds + 1)
        return take_turns(calls, rounds, _MOST_SECONDS, lambda: progress.advance(task))


def _write_calls(model: PrefLSTMForCausalLM, detector: Detector, preferences: Sequence[str]) -> dict[str, Call]:
    """`write`: one turn into a memory that holds others; and its parts."""
    stored, turns = ([Turn(t) for t in part] for part in (preferences[:WRITE_ROUNDS], preferences[WRITE_ROUNDS:]))
    state = HistoryWriter(model).states([stored])
    encoded = [model.encoder.encode([turn]) for turn in turns[:WRITE_ROUNDS]]

    def write(i: int) -> object:
        _, new = detect_and_encode(model.encoder, detector, [turns[i]])
        return model.write_encoded(new, state)

    return {
        "write": write,
        "detect and encode": lambda i: detect_and_encode(model.encoder, detector, [turns[i]]),
        "update": lambda i: model.write_encoded(encoded[i], state),
    }
