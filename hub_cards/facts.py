"""What a card says, in three groups: given by people, measured by a run, computed from the files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

FACTS_FILE = "card_facts.json"


@dataclass(frozen=True)
class DataSource:
    """
    Data that a model learned from.

    Args:
        name (`str`): What it is called.
        use (`str`): What it was used for.
        license (`str`, *optional*): Its licence.
        hub_id (`str`, *optional*): Where it lies on the Hub.
    """

    name: str
    use: str
    license: str | None = None
    hub_id: str | None = None


@dataclass
class GivenFacts:
    """What only people can say: the model's licence and languages, where its data came from, what it is called."""

    license: str | None = None
    languages: list[str] = field(default_factory=list)
    data: list[DataSource] = field(default_factory=list)
    repo_id: str | None = None
    partner_id: str | None = None


@dataclass
class TrainingFacts:
    """One training run. `seconds` is unknown for a run that went on from a checkpoint."""

    steps: int | None = None
    seconds: float | None = None
    hardware: str | None = None
    seed: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    final_loss: float | None = None


@dataclass(frozen=True)
class Result:
    """
    One figure.

    Args:
        measure (`str`): Name of the measure.
        value (`float`): The figure.
        method (`str`): What was measured: the model itself, or what it is compared with.
        setting (`str`, *optional*): Under which circumstances.
        low, high (`float`, *optional*): 95 % interval.
        n (`int`, *optional*): Number of questions or turns.
        is_model (`bool`): Whether it goes into the model index: it is the model's own, on `dataset`.
    """

    measure: str
    value: float
    method: str
    setting: str | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    is_model: bool = False


@dataclass(frozen=True)
class Usage:
    """Lines that were run on the saved model, and what they printed."""

    code: str
    output: str


@dataclass
class MeasuredFacts:
    """What runs have shown."""

    training: TrainingFacts | None = None
    results: list[Result] = field(default_factory=list)
    seed: int | None = None
    hardware: str | None = None
    usage: Usage | None = None
    picture: str | None = None


@dataclass
class ComputedFacts:
    """What stands in the model's own files. `details` are named settings, `versions` those of the libraries."""

    base_model: str | None = None
    base_revision: str | None = None
    encoder: str | None = None
    num_parameters: int | None = None
    num_bytes: int | None = None
    weights_sha256: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


@dataclass
class CardFacts:
    """All that is known about a model. What is unknown is `None` or empty, and no card mentions it."""

    given: GivenFacts = field(default_factory=GivenFacts)
    measured: MeasuredFacts = field(default_factory=MeasuredFacts)
    computed: ComputedFacts = field(default_factory=ComputedFacts)

    def save(self, folder: str | Path) -> None:
        """Write `card_facts.json` beside the weights, for the card that is made when they are published."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        (Path(folder) / FACTS_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> CardFacts:
        """
        The facts that lie beside the weights; none are known where there is no such file.

        Raises:
            ValueError: if the file is no JSON of these facts.
        """
        path = Path(folder) / FACTS_FILE
        if not path.is_file():
            return cls()
        try:
            groups = json.loads(path.read_text(encoding="utf-8"))
            given, measured = dict(groups["given"]), dict(groups["measured"])
            given["data"] = [DataSource(**source) for source in given["data"]]
            measured["results"] = [Result(**result) for result in measured["results"]]
            for name, kind in (("training", TrainingFacts), ("usage", Usage)):
                if measured[name] is not None:
                    measured[name] = kind(**measured[name])
            return cls(GivenFacts(**given), MeasuredFacts(**measured), ComputedFacts(**groups["computed"]))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"'{path.name}' must hold the facts that `CardFacts.save` wrote, but does not "
                f"({type(error).__name__}: {error}). Delete it, or write it again by training."
            ) from None


def known(group: Any) -> dict[str, Any]:
    """The facts of a group that are known, by name."""
    values: Mapping[str, Any] = {item.name: getattr(group, item.name) for item in fields(group)}
    return {name: value for name, value in values.items() if value not in (None, [], {})}
