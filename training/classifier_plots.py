"""The detector's pictures: precision and recall, calibration, and what moving the threshold would do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sklearn.calibration import calibration_curve
from sklearn.metrics import f1_score, precision_recall_curve, precision_score, recall_score

_BINS = 8
_THRESHOLDS = [step / 50 for step in range(1, 50)]


@dataclass(frozen=True)
class Judged:
    """
    One set of turns with what two detectors made of it.

    Args:
        labels (`list[int]`): 1 where the turn reveals a preference.
        probabilities (`list[float]`): The classifier's.
        rule_hits (`list[bool]`): Whether a rule of the heuristic matched.
    """

    labels: list[int]
    probabilities: list[float]
    rule_hits: list[bool]


def plot_detection(sets: dict[str, Judged], prompts: list[float], threshold: float, file: Path) -> None:
    """
    Three panels, one colour per set: precision against recall (the dot is the stored threshold, the cross the rules),
    the calibration curve, and F1 by threshold with the false alarms on `prompts` (probabilities of real prompts
    without preferences; may be empty).
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (curve, calibration, decision) = pyplot.subplots(1, 3, figsize=(15, 4.6))
    for number, (name, judged) in enumerate(sets.items()):
        _plot_set(
            (curve, calibration, decision), judged, threshold, f"C{number}", f"{name} (n = {len(judged.labels):,})"
        )
    curve.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.03))
    curve.set_title("Precision and recall (● threshold, × rules)", fontsize=10)
    calibration.plot([0, 1], [0, 1], color="grey", linestyle=":")
    calibration.set(xlabel="predicted probability", ylabel="share that are preferences", ylim=(-0.03, 1.03))
    calibration.set_title("Calibration (bins of equal size)", fontsize=10)
    if prompts:
        alarms = [sum(value >= limit for value in prompts) / len(prompts) for limit in _THRESHOLDS]
        decision.plot(_THRESHOLDS, alarms, color="black", linestyle="--")
    decision.axvline(threshold, color="grey", linestyle=":")
    decision.set(xlabel="threshold", ylabel="F1; false alarms dashed", xlim=(0, 1), ylim=(-0.03, 1.03))
    decision.set_title(f"Threshold (stored: {threshold:.2f}), false alarms on {len(prompts)} prompts", fontsize=10)
    handles, names = curve.get_legend_handles_labels()
    figure.legend(handles, names, loc="lower center", ncols=len(names), frameon=False)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def _plot_set(axes: tuple[Any, Any, Any], judged: Judged, threshold: float, colour: str, name: str) -> None:
    curve, calibration, decision = axes
    labels, probabilities = judged.labels, judged.probabilities
    precision, recall, _ = precision_recall_curve(labels, probabilities)
    curve.plot(recall, precision, color=colour, label=name)
    decided = [int(value >= threshold) for value in probabilities]
    for choice, marker in ((decided, "o"), ([int(hit) for hit in judged.rule_hits], "x")):
        at = (recall_score(labels, choice), precision_score(labels, choice, zero_division=0.0))
        curve.plot(*at, marker=marker, color=colour, markersize=8, linestyle="none")
    observed, predicted = calibration_curve(labels, probabilities, n_bins=_BINS, strategy="quantile")
    calibration.plot(predicted, observed, marker="o", markersize=4, color=colour)
    scores = [
        f1_score(labels, [int(value >= limit) for value in probabilities], zero_division=0.0) for limit in _THRESHOLDS
    ]
    decision.plot(_THRESHOLDS, scores, color=colour)
