"""How much of what an LM gets from reading a preference comes through, with intervals over questions."""

from __future__ import annotations

from collections.abc import Sequence

import datasets
import evaluate
import numpy as np
from numpy.typing import NDArray

NUM_RESAMPLES = 2000
_CITATION = "Pref-LSTM, arXiv 2507.03042; PrefEval, arXiv 2502.09597"
_INPUTS = """
    Args: lists with one number per question, in the same order: mean negative log-likelihood of the answer's tokens.
"""


def _means(values: Sequence[float], draws: NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean of each resample."""
    means: NDArray[np.float64] = np.asarray(values, dtype=np.float64)[draws].mean(axis=1)
    return means


def _draws(count: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, count, (NUM_RESAMPLES, count))


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    if np.isnan(values).all():
        return float("nan"), float("nan")
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def with_interval(
    name: str, values: Sequence[float], seed: int, sizes: Sequence[float] | None = None
) -> dict[str, float]:
    """
    `sum(values) / sum(sizes)` under `name`, with a bootstrap 95 % interval over rows as `name_low` and `name_high`.

    Args:
        name (`str`): Of the figure.
        values (`Sequence[float]`): One per row, such as a question.
        seed (`int`): Of the resampling.
        sizes (`Sequence[float]`, *optional*): How much each row counts, such as its tokens; 1 by default.
    """
    draws, sizes = _draws(len(values), seed), [1.0] * len(values) if sizes is None else sizes
    low, high = _interval(_means(values, draws) / _means(sizes, draws))
    return {name: float(sum(values) / sum(sizes)), f"{name}_low": low, f"{name}_high": high}


class Recovery(evaluate.Metric):  # type: ignore[misc]
    """
    `(shuffled - right) / (text_shuffled - text_right)`, a ratio of means, with a bootstrap 95 % interval.

    1 is all that the same frozen LM gets from reading the relevant preference, 0 is nothing. Where the LM gains nothing
    from the text either, there is no ceiling and recovery is nan.
    """

    def _info(self) -> evaluate.MetricInfo:
        names = ("right", "shuffled", "text_right", "text_shuffled")
        return evaluate.MetricInfo(
            description=Recovery.__doc__ or "",
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({name: datasets.Value("float64") for name in names}),
        )

    def _compute(
        self,
        right: Sequence[float],
        shuffled: Sequence[float],
        text_right: Sequence[float],
        text_shuffled: Sequence[float],
        seed: int = 0,
    ) -> dict[str, float]:
        def ratio(draws: NDArray[np.int64]) -> NDArray[np.float64]:
            ceiling = _means(text_shuffled, draws) - _means(text_right, draws)
            gap = _means(shuffled, draws) - _means(right, draws)
            return np.where(ceiling > 0, gap / np.where(ceiling > 0, ceiling, 1.0), np.nan)

        low, high = _interval(ratio(_draws(len(right), seed)))
        return {
            "recovery": float(ratio(np.arange(len(right))[None])[0]),
            "recovery_low": low,
            "recovery_high": high,
        }


class LikelihoodGap(evaluate.Metric):  # type: ignore[misc]
    """Mean NLL under the right and the shuffled memory, and `shuffled - right` with a bootstrap 95 % interval."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=LikelihoodGap.__doc__ or "",
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({name: datasets.Value("float64") for name in ("right", "shuffled")}),
        )

    def _compute(self, right: Sequence[float], shuffled: Sequence[float], seed: int = 0) -> dict[str, float]:
        draws = _draws(len(right), seed)
        low, high = _interval(_means(shuffled, draws) - _means(right, draws))
        nll, nll_shuffled = float(np.mean(right)), float(np.mean(shuffled))
        return {
            "nll": nll,
            "nll_shuffled": nll_shuffled,
            "gap": nll_shuffled - nll,
            "gap_low": low,
            "gap_high": high,
        }
