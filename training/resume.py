"""Start a stage of training, or go on with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

_FACTS = "run.json"


def train_from_last(trainer: Trainer) -> dict[str, float]:
    """
    Train from the last checkpoint of the Trainer's folder, if there is one; a finished stage only loads its weights.

    `Trainer.train` would take one more step from a checkpoint of the last one.

    Returns:
        `dict[str, float]`: The Trainer's metrics; `train_runtime` (seconds) is 0 for a finished stage.
    """
    last = _last_checkpoint(Path(str(trainer.args.output_dir)))
    if last is not None:
        state = TrainerState.load_from_json(str(Path(last) / TRAINER_STATE_NAME))
        # Arguments that count epochs have a `max_steps` of -1; the state has what that came to.
        wanted = trainer.args.max_steps if trainer.args.max_steps > 0 else state.max_steps
        if state.global_step >= wanted:
            trainer._load_from_checkpoint(last)
            trainer.state = state
            return {"train_runtime": 0.0}
    metrics = trainer.train(resume_from_checkpoint=last).metrics
    return {name: float(value) for name, value in metrics.items()}


def check_same_run(folder: Path, facts: dict[str, Any]) -> None:
    """
    Whether a run may go on in a folder: what it depends on is kept there, and has to be the same.

    Args:
        folder (`Path`): Of the run; it is made.
        facts (`dict[str, Any]`): What the weights depend on, as JSON has it.

    Raises:
        ValueError: if the folder holds a run with others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file, facts = folder / _FACTS, json.loads(json.dumps(facts))
    if not file.exists():
        file.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    before = json.loads(file.read_text(encoding="utf-8"))
    if changed := sorted(name for name in before.keys() | facts.keys() if before.get(name) != facts.get(name)):
        raise ValueError(
            f"'{folder}' must be the folder of the same run, but what it was started with differs in {changed}. Pass "
            "another folder, or remove this one: its checkpoints would be taken for those of this run."
        )


def _last_checkpoint(folder: Path) -> str | None:
    """The Trainer writes its state last: a checkpoint without one was not finished, and the one before it counts."""
    whole = [file.parent for file in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*/{TRAINER_STATE_NAME}")]
    return str(max(whole, key=lambda path: int(path.name.rpartition("-")[2]))) if whole else None
