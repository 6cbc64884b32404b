"""What the user of each question has stored: the relevant preference, or another in its place, among unrelated ones."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from .prefeval import PrefEvalItem

RIGHT, SHUFFLED, OTHER_TOPIC = "right", "shuffled", "other_topic"


@dataclass(frozen=True)
class Case:
    """
    One question, asked of a user who has stated some preferences.

    Args:
        item ([`PrefEvalItem`]): Whose question is asked.
        stored (`tuple[PrefEvalItem, …]`): The preferences in the order in which they were stated.
        place (`int`): Which of them is the relevant one, or stands in for it.
        between (`float`, defaults to 0): Where in the list of unrelated turns this user's begin, in [0, 1).
    """

    item: PrefEvalItem
    stored: tuple[PrefEvalItem, ...]
    place: int
    between: float = 0.0


@dataclass(frozen=True)
class Plan:
    """
    Everything that is drawn for one question, from the seed and the question alone: a limit changes no draw.

    Args:
        item ([`PrefEvalItem`]): Whose question is asked.
        wrong ([`PrefEvalItem`]): Another preference of the same topic.
        foreign ([`PrefEvalItem`]): A preference of another topic.
        others (`tuple[PrefEvalItem, …]`): Further preferences of other topics, in random order.
        position (`float`): Where in the order of statements the relevant one comes, in [0, 1).
        between (`float`): Where in the list of unrelated turns this user's begin, in [0, 1).
    """

    item: PrefEvalItem
    wrong: PrefEvalItem
    foreign: PrefEvalItem
    others: tuple[PrefEvalItem, ...]
    position: float
    between: float

    def case(self, num_preferences: int, which: str = RIGHT) -> Case:
        """The question with `num_preferences` stored: `"right"`, `"shuffled"` (same topic) or `"other_topic"`."""
        relevant = {RIGHT: self.item, SHUFFLED: self.wrong, OTHER_TOPIC: self.foreign}[which]
        if num_preferences - 1 > len(self.others):
            raise ValueError(
                f"`--num-preferences` must be at most {len(self.others) + 1} for the topic '{self.item.topic}', got "
                f"{num_preferences}: that many preferences of other topics are in the data."
            )
        place = int(self.position * num_preferences)
        stored = list(self.others[: num_preferences - 1])
        stored.insert(place, relevant)
        return Case(self.item, tuple(stored), place, self.between)

    def irrelevant(self, num_preferences: int) -> Case:
        """The question with `num_preferences` stored, none of them of its topic."""
        return Case(self.item, self.others[:num_preferences], 0)


def make_plans(items: Sequence[PrefEvalItem], limit: int | None, seed: int) -> list[Plan]:
    """
    Draw, for each question, what stands in for its preference and what else is stored.

    Args:
        items (`Sequence[PrefEvalItem]`): All questions: preferences are drawn from every topic.
        limit (`int`, *optional*): Only so many questions, drawn from all topics.
        seed (`int`): Of every draw.

    Raises:
        ValueError: if a topic has no second preference, or there is only one topic.
    """
    asked = list(items)
    if limit is not None and limit < len(asked):
        asked = random.Random(f"{seed} limit").sample(asked, limit)
    return [_plan(item, items, seed) for item in asked]


def _plan(item: PrefEvalItem, items: Sequence[PrefEvalItem], seed: int) -> Plan:
    rng = random.Random(f"{seed} {item.topic} {item.question}")
    same = [i for i in items if i.topic == item.topic and i.preference != item.preference]
    foreign = [i for i in items if i.topic != item.topic]
    if not same or not foreign:
        raise ValueError(
            f"Expected two preferences in every topic and two topics, got {len(same) + 1} in '{item.topic}' and "
            f"{len(foreign)} in other topics. Shuffling needs them: use more of the data set."
        )
    wrong = rng.choice(same)
    rng.shuffle(foreign)
    return Plan(item, wrong, foreign[0], tuple(foreign[1:]), rng.random(), rng.random())
