"""Pairs of turns that say the same, the reverse, or something different, out of hand-written rows."""

from __future__ import annotations

import random
from dataclasses import dataclass

from pref_lstm.modeling.cell_slots import DIFFERENT, REVERSED, SAME

from .bank import BankPreference
from .turn_grammar import read_packaged

_RELATIONS = (SAME, REVERSED, DIFFERENT, DIFFERENT)  # most turns that a memory compares are different
_SWAPPED_SHARE = 0.3


@dataclass(frozen=True)
class RelationRow:
    """
    One preference, and what its user may say later.

    Args:
        forms (`tuple[str, …]`): Texts that say it, the plainest first.
        reversed (`tuple[str, …]`): Texts that take it back or replace it.
        different (`tuple[str, …]`): Texts that leave it as it is and say something else.
    """

    forms: tuple[str, ...]
    reversed: tuple[str, ...]
    different: tuple[str, ...]


def load_relation_rows(preferences: tuple[BankPreference, ...]) -> list[RelationRow]:
    """
    The rows of `relation_pairs.jsonl`, whose texts share few words, twice, and a bank's preferences that come with a
    different one on the same matter.
    """
    written = [
        RelationRow((row["first"], *row["same"]), tuple(row["reversed"]), tuple(row["different"]))
        for row in read_packaged("relation_pairs.jsonl")
    ]
    of_bank = [
        RelationRow(tuple(form.user for form in p.forms), (p.opposite,), (p.different,))
        for p in preferences
        if p.different is not None
    ]
    return [*written, *written, *of_bank]


def load_neighbours(preferences: tuple[BankPreference, ...]) -> list[list[str]]:
    """For each topic of a bank that has two preferences or more, what states each of them: all different."""
    by_topic: dict[str, list[str]] = {}
    for p in preferences:
        by_topic.setdefault(p.topic, []).append(p.forms[0].user)
    return [texts for texts in by_topic.values() if len(texts) > 1]


def draw_pair(
    rows: list[RelationRow], neighbours: list[list[str]], index: int, rng: random.Random
) -> tuple[str, str, int]:
    """
    Two texts and their relation, as turns that a memory compares: half of all pairs are different. Of these a third
    leave what the row says, a third are two preferences of one topic, and a third texts of two rows.

    Args:
        rows (`list[RelationRow]`): All of them.
        neighbours (`list[list[str]]`): As of [`load_neighbours`]; none where a bank has one preference per topic.
        index (`int`): The row that the pair is drawn from.
        rng (`random.Random`): Decides.
    """
    said, relation = _said(rows[index], rng), rng.choice(_RELATIONS)
    return _pair(rows, neighbours, rows[index], said, relation, (1, 1, 1), rng)


def draw_read(
    rows: list[RelationRow], neighbours: list[list[str]], index: int, rng: random.Random
) -> list[tuple[str, str, int]]:
    """
    A pair of each relation, with one text in all of them where the different one is of the same row: beside each other
    they show what makes the difference. Few pairs have nothing in common, since what is read has been found alike.

    Args:
        rows, neighbours, index, rng: As for [`draw_pair`].
    """
    said = _said(rows[index], rng)
    relations = (SAME, REVERSED, DIFFERENT)
    return [_pair(rows, neighbours, rows[index], said, relation, (6, 3, 1), rng) for relation in relations]


def _said(row: RelationRow, rng: random.Random) -> str:
    return rng.choice(row.forms) if rng.random() < 0.5 else row.forms[0]


def _pair(
    rows: list[RelationRow],
    neighbours: list[list[str]],
    row: RelationRow,
    said: str,
    relation: int,
    different: tuple[int, int, int],
    rng: random.Random,
) -> tuple[str, str, int]:
    """With `said`; `different` weighs what leaves a row, what has one topic, and what is of two rows."""
    if relation == SAME:
        first, second = said, rng.choice([form for form in row.forms if form != said] or [said])
    elif relation == REVERSED:
        first, second = said, rng.choice(row.reversed)
    else:
        left, near, other = different
        kind = rng.choices(range(3), (left, near if neighbours else 0, other))[0]
        if kind == 0:
            first, second = rng.choice([said, rng.choice(row.reversed)]), rng.choice(row.different)
        elif kind == 1:
            first, second = rng.sample(rng.choice(neighbours), 2)
        else:
            beside = rng.choice(rows)
            while beside == row:
                beside = rng.choice(rows)
            first = rng.choice([*row.forms, *row.reversed])
            second = rng.choice([*beside.forms, *beside.reversed, *beside.different])
    return (second, first, relation) if rng.random() < _SWAPPED_SHARE else (first, second, relation)
