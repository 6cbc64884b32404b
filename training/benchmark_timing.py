"""Times of things that are compared, taken in turns: whatever disturbs the machine disturbs them alike."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

# Something to time. It gets the round's number, so that what is compared can be given the same input.
Call = Callable[[int], object]
_LEAST_ROUNDS = 3


@dataclass(frozen=True)
class Timings:
    """
    Seconds of each call.

    Args:
        seconds (`dict[str, dict[int, float]]`): By the call's name and the round. A slow call has fewer rounds.
    """

    seconds: dict[str, dict[int, float]]

    def milliseconds(self, name: str) -> float:
        """Median over rounds."""
        return 1000 * statistics.median(self.seconds[name].values())

    def ratio(self, name: str, to: str) -> float:
        """How many times as long one call takes as another: the median of their ratios within a round."""
        return statistics.median(self._ratios(name, to))

    def quartiles(self, name: str, to: str) -> list[float]:
        """The lower and the upper quartile of what [`~Timings.ratio`] is the median of."""
        low, _, high = statistics.quantiles(self._ratios(name, to), n=4, method="inclusive")
        return [low, high]

    def _ratios(self, name: str, to: str) -> list[float]:
        ours, theirs = self.seconds[name], self.seconds[to]
        return [ours[i] / theirs[i] for i in ours.keys() & theirs.keys()]


def take_turns(
    calls: Mapping[str, Call], rounds: int, most_seconds: float, on_round: Callable[[], None] = lambda: None
) -> Timings:
    """
    Time all calls in each of several rounds, in a new order each time, after one round that does not count.

    Args:
        calls (`Mapping[str, Call]`): By name.
        rounds (`int`): At least 3.
        most_seconds (`float`): A call that took longer than this in all is left out after 3 rounds.
        on_round (`Callable`): Called after each round, for a progress bar.
    """
    rng = random.Random(0)
    names = list(calls)
    seconds: dict[str, dict[int, float]] = {name: {} for name in names}
    for i in range(-1, rounds):
        rng.shuffle(names)
        for name in names:
            taken = seconds[name]
            if len(taken) >= _LEAST_ROUNDS and sum(taken.values()) > most_seconds:
                continue
            started = time.perf_counter()
            calls[name](max(i, 0))
            if i >= 0:
                taken[i] = time.perf_counter() - started
        on_round()
    return Timings(seconds)
