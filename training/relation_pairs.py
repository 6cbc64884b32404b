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
    Two texts and their relation: half of all pairs are different. Of these a third leave what the row says, a third are
    two preferences of one topic, and a third texts of two rows.

    Args:
        rows (`list[RelationRow]`): All of them.
        neighbours (`list[list[str]]`): As of [`load_neighbours`]; none where a bank has one preference per topic.
        index (`int`): The row that the pair is drawn from.
        rng (`random.Random`): Decides.
    """
    row = rows[index]
    relation = rng.choice(_RELATIONS)
    said = rng.choice(row.forms) if rng.random() < 0.5 else row.forms[0]
    if relation == SAME:
        first, second = rng.sample(row.forms, 2)
    elif relation == REVERSED:
        first, second = said, rng.choice(row.reversed)
    else:
        kind = rng.choice((0, 1, 2) if neighbours else (0, 2))
        if kind == 0:
            first, second = rng.choice([said, rng.choice(row.reversed)]), rng.choice(row.different)
        elif kind == 1:
            first, second = rng.sample(rng.choice(neighbours), 2)
        else:
            other = rng.choice(rows)
            while other == row:
                other = rng.choice(rows)
            first = rng.choice([*row.forms, *row.reversed])
            second = rng.choice([*other.forms, *other.reversed, *other.different])
    return (second, first, relation) if rng.random() < _SWAPPED_SHARE else (first, second, relation)
