"""The decision threshold, chosen on validation turns."""

from __future__ import annotations

from collections.abc import Sequence

REAL = ("oasst", "alpsbench")
# Validation holds a few hundred real negatives: this leaves a margin to the 3 % that is promised.
MAX_FALSE_ALARMS = 0.02


def calibrate_threshold(
    probabilities: Sequence[float],
    labels: Sequence[int],
    sources: Sequence[str],
    max_false_alarms: float = MAX_FALSE_ALARMS,
) -> float:
    """
    The threshold with the best accuracy on written turns, among those with few false alarms in real chats.

    Each source of written turns (all but OASST1 and AlpsBench) counts the same. Ties go to the middle of the range
    of equally good thresholds.

    Args:
        probabilities (sequence of `float`): The classifier's, one per validation turn.
        labels (sequence of `int`): 1 where the turn reveals a preference.
        sources (sequence of `str`): Where each turn comes from; `"oasst"` and `"alpsbench"` mark real chats.
        max_false_alarms (`float`, *optional*, defaults to 0.02): Highest share of real chats' negatives let in.

    Returns:
        `float`: The threshold, a multiple of 0.01 between 0.05 and 0.95 (0.95 if none is strict enough).
    """
    rows = list(zip(probabilities, labels, sources, strict=True))
    written: dict[str, list[tuple[float, int]]] = {}
    for probability, label, source in rows:
        if source not in REAL:
            written.setdefault(source, []).append((probability, label))
    negatives = [probability for probability, label, source in rows if source in REAL and not label]

    def score(threshold: float) -> float:
        accuracies = [
            sum((probability >= threshold) == bool(label) for probability, label in part) / len(part)
            for part in written.values()
        ]
        return sum(accuracies) / len(accuracies)

    allowed = [
        step / 100
        for step in range(5, 96)
        if sum(probability >= step / 100 for probability in negatives) <= max_false_alarms * len(negatives)
    ]
    if not allowed:
        return 0.95
    scores = {threshold: score(threshold) for threshold in allowed}
    best = [threshold for threshold in allowed if scores[threshold] == max(scores.values())]
    return best[len(best) // 2]
