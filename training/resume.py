"""Start a stage of training, or go on with it."""

from __future__ import annotations

from pathlib import Path

from transformers import Trainer, TrainerState
from transformers.trainer_utils import get_last_checkpoint


def train_from_last(trainer: Trainer) -> dict[str, float]:
    """
    Train from the last checkpoint of the Trainer's folder, if there is one; a finished stage only loads its weights.

    `Trainer.train` would take one more step from a checkpoint of the last one.

    Returns:
        `dict[str, float]`: The Trainer's metrics; `train_runtime` (seconds) is 0 for a finished stage.
    """
    folder = str(trainer.args.output_dir)
    last = get_last_checkpoint(folder) if Path(folder).is_dir() else None
    if last is not None:
        state = TrainerState.load_from_json(str(Path(last) / "trainer_state.json"))
        # Arguments that count epochs have a `max_steps` of -1; the state has what that came to.
        wanted = trainer.args.max_steps if trainer.args.max_steps > 0 else state.max_steps
        if state.global_step >= wanted:
            trainer._load_from_checkpoint(last)
            trainer.state = state
            return {"train_runtime": 0.0}
    metrics = trainer.train(resume_from_checkpoint=last).metrics
    return {name: float(value) for name, value in metrics.items()}
