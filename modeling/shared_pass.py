"""Detector and encoder over the same turns, in one pass of the backbone where they share it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .classifier_detector import ClassifierDetector
from .outputs import EncodedTurn
from .turn import Detection, Detector, Turn
from .turn_encoder import TurnEncoder
from .turn_tokenization import MAX_USER_LENGTH


def detect_and_encode(
    encoder: TurnEncoder, detector: Detector, turns: Sequence[Turn]
) -> tuple[list[Detection], EncodedTurn]:
    """
    What the detector decides on each turn, and the turns as the memory reads them.

    A [`ClassifierDetector`] whose frozen backbone is the encoder's reads the encoder's hidden states; other detectors
    read the turns themselves. The results are the same either way.
    """
    if not shares_backbone(encoder, detector):
        return detector.detect(turns), encoder.encode(turns)
    assert isinstance(detector, ClassifierDetector)
    passed = encoder.hidden_states(turns)
    with torch.inference_mode():
        logits = detector.model(
            hidden_states=passed.hidden_states,
            attention_mask=passed.attention_mask,
            token_type_ids=passed.token_type_ids,
        ).logits
    probabilities = logits.float().softmax(-1)[:, 1].tolist()
    return [detector.judge(p) for p in probabilities], encoder.encode_from(turns, passed)


def shares_backbone(encoder: TurnEncoder, detector: Detector) -> bool:
    """Whether the detector's classifier was made for this encoder, reads as much of a turn, and computes as it does."""
    if not isinstance(detector, ClassifierDetector):
        return False
    model, config, weight = detector.model, detector.model.config, next(encoder.backbone.parameters())
    is_made_for = config.encoder_name_or_path == encoder.name and config.max_length == MAX_USER_LENGTH
    return bool(is_made_for and model.device == weight.device and model.dtype == weight.dtype)
