"""The trained detector: a [`PreferenceClassifier`] and its tokenizer behind the [`Detector`] interface."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

from .modeling_classifier import PreferenceClassifier
from .turn import Detection, Turn
from .turn_tokenization import tokenize_turns


class ClassifierDetector:
    """
    Lets a turn in when the classifier's probability reaches the threshold stored in its configuration.

    The agent's line is read as context, its last 48 tokens; of a user message longer than `config.max_length` tokens
    the first three quarters and the last quarter of that number are read.

    Args:
        model ([`PreferenceClassifier`]): With its encoder attached.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): The encoder's tokenizer.
        batch_size (`int`, *optional*, defaults to 32): Turns in one forward pass.
    """

    def __init__(self, model: PreferenceClassifier, tokenizer: PreTrainedTokenizerBase, batch_size: int = 32) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.batch_size = batch_size

    @property
    def threshold(self) -> float:
        """Probability from which on a turn is let in."""
        return float(self.model.config.threshold)

    def detect(self, turns: Sequence[Turn]) -> list[Detection]:
        """One [`Detection`] per turn, in order."""
        probabilities = [
            probability
            for start in range(0, len(turns), self.batch_size)
            for probability in self._probabilities(turns[start : start + self.batch_size])
        ]
        return [self.judge(probability) for probability in probabilities]

    def judge(self, probability: float) -> Detection:
        """The decision on a probability that was computed elsewhere, for example from shared hidden states."""
        let_in = probability >= self.threshold
        sign = "reaches" if let_in else "is below"
        reason = f"probability {probability:.3f} {sign} the threshold {self.threshold:.3f}"
        return Detection(probability, let_in, reason)

    @torch.inference_mode()
    def _probabilities(self, turns: Sequence[Turn]) -> list[float]:
        batch = tokenize_turns(self.tokenizer, turns, self.model.config.max_length).to(self.model.device)
        logits = self.model(**batch).logits  # (batch, 2)
        probabilities: list[float] = logits.float().softmax(-1)[:, 1].tolist()
        return probabilities
