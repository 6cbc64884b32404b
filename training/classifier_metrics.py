"""Figures of a detector on labelled turns."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from pref_lstm.modeling.turn import Detection, Detector, Turn
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

TIMED_TURNS = 50


def classification_figures(
    labels: Sequence[int], detections: Sequence[Detection], threshold: float | None
) -> dict[str, float | int | None]:
    """
    Accuracy, precision, recall and F1 of the class `preference` at the detector's own decisions, and the area under
    the precision-recall curve (average precision) of its probabilities, which is `None` where no label is 1.
    """
    decided = [int(detection.is_preference) for detection in detections]
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, decided, average="binary", pos_label=1, zero_division=0.0
    )
    probabilities = [detection.probability for detection in detections]
    return {
        "n": len(labels),
        "accuracy": sum(label == choice for label, choice in zip(labels, decided, strict=True)) / len(labels),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "auprc": float(average_precision_score(labels, probabilities)) if any(labels) else None,
        "threshold": threshold,
    }


def milliseconds_per_turn(detector: Detector, turns: Sequence[Turn]) -> float:
    """Median time of one turn alone (batch 1), over the first 50 turns, after three to warm up."""
    times: list[float] = []
    for turn in [*turns[:3], *turns[:TIMED_TURNS]]:
        start = time.perf_counter()
        detector.detect([turn])
        times.append(1000 * (time.perf_counter() - start))
    return median(times[min(3, len(turns)) :])


def evaluate_detector(detector: Detector, rows: Sequence[dict[str, Any]], threshold: float | None) -> dict[str, Any]:
    """
    Every figure of a detector on rows `{"agent", "user", "preference": 0/1}`:
    `n`, `accuracy`, `precision`, `recall`, `f1`, `auprc`, `threshold`, `ms_per_turn`.
    """
    turns = [Turn(user=row["user"], agent=row["agent"]) for row in rows]
    labels = [int(row["preference"]) for row in rows]
    figures: dict[str, Any] = classification_figures(labels, detector.detect(turns), threshold)
    figures["ms_per_turn"] = milliseconds_per_turn(detector, turns)
    return figures
