"""The hand-written grammar of single turns: families of templates, filled with topics and their things."""

from __future__ import annotations

import hashlib
import json
import random
import re
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

from .turn_style import EMOJI, make_casual

SPLITS = ("train", "validation", "test")
CASUAL_SHARE = 0.4
EMBEDDED_SHARE = 0.2
# Families whose sentences may stand around another one; none of them says anything about its writer's taste.
_FILLERS = ("daily_talk", "question", "task", "small_talk", "general_statement")

_SLOTS: dict[str, tuple[str, ...]] = {
    "person": tuple(
        "sister,brother,mum,dad,flatmate,boss,neighbour,cousin,best friend,girlfriend,boyfriend,wife,husband,son,"
        "daughter,colleague,grandma,uncle,roommate,teacher".split(",")
    ),
    "name": tuple("Mia,Ravi,Chen,Lena,Omar,Sofia,Tom,Aisha,Jonas,Priya,Kofi,Elena,Marco,Yuki,Zoe,Samuel".split(",")),
    "city": tuple("Leeds,Porto,Osaka,Denver,Nairobi,Kraków,Oslo,Lima,Toronto,Hanoi,Ghent,Austin,Cork".split(",")),
    "day": tuple("Monday,Tuesday,Wednesday,Thursday,Friday,Saturday,Sunday".split(",")),
    "n": tuple("2,3,4,5,6,7,8,9".split(",")),
    "year": tuple(str(year) for year in range(1998, 2025)),
    "emoji": EMOJI,
}


@dataclass(frozen=True)
class SyntheticTurn:
    """One generated turn, with what it was made from."""

    agent: str
    user: str
    preference: int
    family: str
    template: str
    topic: str


def load_families() -> list[dict[str, Any]]:
    """The families: `{"family", "preference": 0/1, "agents": [templates], "users": [templates]}`."""
    return read_packaged("turn_families.jsonl")


def load_topics() -> list[dict[str, Any]]:
    """The topics: `{"topic", "things": [8 noun phrases]}`."""
    return read_packaged("turn_topics.jsonl")


def read_packaged(name: str) -> list[dict[str, Any]]:
    """The rows of a JSONL file that ships beside this module."""
    text = (files("pref_lstm.training") / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _order(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def split_items(items: list[str]) -> dict[str, list[str]]:
    """Shares items out to train, validation and test (8 : 1 : 1, at least one each), by the hash of each item."""
    ordered = sorted(items, key=_order)
    held_out = max(1, round(len(ordered) / 10))
    return {
        "test": ordered[:held_out],
        "validation": ordered[held_out : 2 * held_out],
        "train": ordered[2 * held_out :],
    }


class TurnGrammar:
    """
    Writes turns of one split; no user template and no topic occurs in two splits. Agent lines are shared by the
    splits, since the same question comes before revealing and unrevealing answers.

    Args:
        split (`str`): "train", "validation" or "test".
        seed (`int`, *optional*, defaults to 0): Two grammars of one split and seed write the same turns.

    Raises:
        ValueError: if `split` is none of the three.
    """

    def __init__(self, split: str, seed: int = 0) -> None:
        if split not in SPLITS:
            raise ValueError(f"`split` must be one of {SPLITS}, got {split!r}. Pass one of these names.")
        topics = {topic["topic"]: topic for topic in load_topics()}
        self.topics = [topics[name] for name in split_items(list(topics))[split]]
        self.families = [{**family, "users": split_items(family["users"])[split]} for family in load_families()]
        self._by_name = {family["family"]: family for family in self.families}
        self._rng = random.Random(f"{seed}-{split}")

    def write(self, preference: int) -> SyntheticTurn:
        """One more turn that reveals a preference (1) or doesn't (0)."""
        rng = self._rng
        family = rng.choice([family for family in self.families if family["preference"] == preference])
        template = rng.choice(family["users"])
        topic = rng.choice(self.topics)
        thing, other = rng.sample(topic["things"], 2)
        agents = family["agents"]
        agent = "" if "" in agents and rng.random() < 0.5 else rng.choice(agents)
        user = self._fill(template, topic["topic"], thing, other)
        if "" in agents and rng.random() < EMBEDDED_SHARE:
            user = self._embed(user)
        if rng.random() < CASUAL_SHARE:
            user = make_casual(user, rng)
        return SyntheticTurn(
            agent=self._fill(agent, topic["topic"], thing, other),
            user=user,
            preference=preference,
            family=family["family"],
            template=template,
            topic=topic["topic"],
        )

    def _embed(self, user: str) -> str:
        """`user` with one to three neutral sentences of the same split before or after it."""
        rng = self._rng
        sentences = []
        for _ in range(rng.randint(1, 3)):
            topic = rng.choice(self.topics)
            template = rng.choice(self._by_name[rng.choice(_FILLERS)]["users"])
            sentences.append(self._fill(template, topic["topic"], *rng.sample(topic["things"], 2)))
        sentences.insert(rng.randint(0, len(sentences)), user)
        return " ".join(text if text[-1:] in ".!?" else f"{text}." for text in sentences)

    def _fill(self, template: str, topic: str, thing: str, other: str) -> str:
        """Resolves `{a|b}` alternations, then `<slot>`s."""
        rng = self._rng
        text = re.sub(r"\{([^{}]*)\}", lambda match: rng.choice(match[1].split("|")), template)
        plural = thing.endswith("s") and not thing.endswith("ss")
        words = {
            "thing": thing,
            "Thing": thing[0].upper() + thing[1:],
            "other": other,
            "Other": other[0].upper() + other[1:],
            "topic": topic,
            "is": "are" if plural else "is",
            "ois": "are" if other.endswith("s") else "is",
            "them": "them" if plural else "it",
            "it": "they" if plural else "it",
        }
        text = re.sub(r"<(\w+)>", lambda match: words.get(match[1]) or rng.choice(_SLOTS[match[1]]), text)
        return re.sub(r"\s+", " ", text).strip()


def near_duplicate_key(turn: SyntheticTurn) -> tuple[frozenset[str], frozenset[str]]:
    """Equal for turns that differ only in word order, case, punctuation, emoji or drawn-out letters."""

    def words(text: str) -> frozenset[str]:
        return frozenset(re.findall(r"\w+", re.sub(r"(\w)\1{2,}", r"\1", text.lower())))

    return words(turn.agent), words(turn.user)


def write_turns(split: str, without: int, with_preference: int, seed: int = 0) -> list[dict[str, Any]]:
    """
    `without` + `with_preference` turns of one split, shuffled, no near-duplicates among them.

    Raises:
        ValueError: if the grammar runs out of new turns.
    """
    grammar, seen, turns = TurnGrammar(split, seed), set(), []
    for preference, count in ((0, without), (1, with_preference)):
        written = attempts = 0
        while written < count:
            attempts += 1
            if attempts > 50 * count + 1_000:
                raise ValueError(
                    f"The grammar's {split} split has no {count} different turns with `preference` = {preference}: "
                    f"{written} after {attempts - 1} attempts. Ask for fewer turns."
                )
            turn = grammar.write(preference)
            key = near_duplicate_key(turn)
            if key not in seen and turn.user:
                seen.add(key)
                turns.append(asdict(turn))
                written += 1
    random.Random(f"{seed}-{split}-order").shuffle(turns)
    return turns
