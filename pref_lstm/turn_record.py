"""One turn as the ledger keeps it, as a caller gets to see it, and as JSON."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from pref_lstm.modeling.turn import Detection, Turn

_FORMAT = "pref_lstm.user_memory.v1"
_MAX_ID = 2**53  # the largest whole number that every JSON reader keeps
_COMMON = {"id", "time", "probability", "reason"}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class StoredTurn:
    """A row of the ledger: `turn`, or `tensors` (an `EncodedTurn` as safetensors), never both. `time` is ISO 8601."""

    id: int
    time: str
    turn: Turn | None
    tensors: bytes | None
    probability: float
    reason: str


@dataclass(frozen=True)
class TurnRecord:
    """
    One turn, and what the memory made of it.

    Args:
        id (`int`, *optional*): Its number in the user's ledger; None if it was not let in, and so not kept.
        time (`datetime`): When it was taken in, UTC.
        turn ([`Turn`], *optional*): Its text; None where only tensors are kept.
        detection ([`Detection`]): What the detector decided; without text its reason, which may quote, is empty.
        written (`bool`): Whether it has a write of its own; False where the memory held the same already.
        slot (`int`, *optional*): The slot that holds it now; None once it was reversed or crowded out.
        strength (`float`, *optional*): That slot's strength.
    """

    id: int | None
    time: datetime
    turn: Turn | None
    detection: Detection
    written: bool
    slot: int | None = None
    strength: float | None = None


@dataclass(frozen=True)
class Influence:
    """A stored turn that acts on a query, and its weight among those that do (all weights sum to 1)."""

    record: TurnRecord
    weight: float


def now() -> str:
    return datetime.now(timezone.utc).isoformat()


def check_text(text: str, what: str) -> None:
    """
    Raises:
        ValueError: if UTF-8 can't hold the text.
    """
    if found := _LONE_SURROGATE.search(text):
        raise ValueError(
            f"{what} must be Unicode text, got half of a surrogate pair at character {found.start()}. "
            "Decode it with `errors='replace'` first."
        )


def check_turn(turn: Turn) -> None:
    """
    Raises:
        TypeError: if it is no [`Turn`].
        ValueError: if UTF-8 can't hold its text.
    """
    if not isinstance(turn, Turn):
        raise TypeError(f"`turn` must be a `Turn`, got {type(turn).__name__}. Wrap the message: `Turn(text, agent)`.")
    check_text(turn.user, "`turn.user`")
    check_text(turn.agent, "`turn.agent`")


def to_json(fingerprint: str, turns: Sequence[StoredTurn]) -> dict[str, Any]:
    """A user's ledger as values that `json.dump` takes."""
    rows: list[dict[str, Any]] = []
    for turn in turns:
        row = {"id": turn.id, "time": turn.time, "probability": turn.probability, "reason": turn.reason}
        if turn.turn is not None:
            row |= {"user": turn.turn.user, "agent": turn.turn.agent}
        if turn.tensors is not None:
            row |= {"tensors": base64.b64encode(turn.tensors).decode()}
        rows.append(row)
    return {"format": _FORMAT, "fingerprint": fingerprint, "turns": rows}


def from_json(data: Any, fingerprint: str) -> list[StoredTurn]:
    """
    What [`to_json`] made, checked. The tensors in it are not: see [`turn_from_bytes`].

    Raises:
        ValueError: if `data` is anything else; the message names the place and what was expected, and quotes nothing.
    """
    _require(isinstance(data, dict) and set(data) == {"format", "fingerprint", "turns"},
             "data", "a dict of `format`, `fingerprint` and `turns`, as `UserStore.export` makes it")  # fmt: skip
    _require(data["format"] == _FORMAT, "data['format']", f"'{_FORMAT}'")
    _require(isinstance(data["turns"], list), "data['turns']", "a list")
    turns: list[StoredTurn] = []
    for i, row in enumerate(data["turns"]):
        turns.append(_turn_from_json(row, f"data['turns'][{i}]", turns[-1].id if turns else 0))
        if turns[-1].tensors is not None and data["fingerprint"] != fingerprint:
            raise ValueError(
                "`data` must come from the same adapter, because it holds turns as tensors only; its fingerprint "
                f"differs from '{fingerprint}'. Import it with the adapter that it was exported with."
            )
    return turns


def _turn_from_json(row: Any, place: str, previous_id: int) -> StoredTurn:
    with_text, with_tensors = _COMMON | {"user", "agent"}, _COMMON | {"tensors"}
    _require(isinstance(row, dict) and set(row) in (with_text, with_tensors),
             place, f"a dict of {sorted(with_text)} or {sorted(with_tensors)}")  # fmt: skip
    number, probability = row["id"], row["probability"]
    _require(type(number) is int and previous_id < number <= _MAX_ID,
             f"{place}['id']", f"a whole number above {previous_id} and up to 2**53")  # fmt: skip
    _require(type(probability) in (int, float) and 0 <= probability <= 1,
             f"{place}['probability']", "a number from 0 to 1")  # fmt: skip
    _require(_is_text(row["reason"]), f"{place}['reason']", "text")
    time = _parse_time(row["time"])
    _require(time is not None, f"{place}['time']", "an ISO 8601 time with its offset from UTC")
    turn = tensors = None
    if "user" in row:
        _require(_is_text(row["user"]) and bool(row["user"].strip()), f"{place}['user']", "text that is not blank")
        _require(_is_text(row["agent"]), f"{place}['agent']", "text")
        turn = Turn(row["user"], row["agent"])
    else:
        tensors = _parse_base64(row["tensors"])
        _require(tensors is not None, f"{place}['tensors']", "base64")
    return StoredTurn(number, str(time), turn, tensors, float(probability), row["reason"])


def _require(condition: bool, place: str, expected: str) -> None:
    if not condition:
        raise ValueError(f"`{place}` must be {expected}, got something else. Nothing was imported.")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not _LONE_SURROGATE.search(value)


def _parse_time(value: Any) -> str | None:
    try:
        time = datetime.fromisoformat(value)
        return None if time.tzinfo is None else time.astimezone(timezone.utc).isoformat()
    except (TypeError, ValueError, OverflowError):
        return None


def _parse_base64(value: Any) -> bytes | None:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except (binascii.Error, ValueError):
        return None
