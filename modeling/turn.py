"""The values that travel through the turn pipeline: what was said, and what a detector thinks of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Turn:
    """
    One user message with the agent's line before it.

    Args:
        user (`str`):
            What the user wrote. It must hold at least one character that is not white space.
        agent (`str`, *optional*, defaults to `""`):
            What the agent said just before. It is context: it never counts as the user's preference by itself.

    Raises:
        TypeError: if `user` or `agent` is no string.
        ValueError: if `user` is empty or only white space.
    """

    user: str
    agent: str = ""

    def __post_init__(self) -> None:
        for name in ("user", "agent"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise TypeError(f"`Turn.{name}` must be a string, got {type(value).__name__}. Pass the message's text.")
        if not self.user.strip():
            raise ValueError(
                "`Turn.user` must hold text, got an empty or blank string. Leave turns without user text out."
            )


@dataclass(frozen=True)
class Detection:
    """
    What a detector decided about one turn.

    Args:
        probability (`float`): Probability in [0, 1] that the turn reveals a preference of its user.
        is_preference (`bool`): Whether the turn is let into the memory.
        reason (`str`): Why, in words for a person: the matched rule, or the probability against the threshold.

    Raises:
        ValueError: if the probability is no number from 0 to 1.
    """

    probability: float
    is_preference: bool
    reason: str

    def __post_init__(self) -> None:
        # Numbers of NumPy and PyTorch too, as plain ones: SQLite would store theirs as bytes.
        for name, kind in (("probability", float), ("is_preference", bool), ("reason", str)):
            object.__setattr__(self, name, kind(getattr(self, name)))
        if not 0 <= self.probability <= 1:
            raise ValueError(f"`Detection.probability` must be from 0 to 1, got {self.probability}. Mend the detector.")


@runtime_checkable
class Detector(Protocol):
    """Decides which turns reveal a preference. Anything with this method can be given to a `ChatSession`."""

    def detect(self, turns: Sequence[Turn]) -> list[Detection]:
        """One [`Detection`] per turn, in order. No state is kept between calls."""
        ...
