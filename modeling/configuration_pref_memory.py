"""Configuration of the adapter: everything that the memory's shape or meaning depends on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from peft import PeftConfig

from .cell_registry import CELL_NAMES

NUM_SLOTS = 256
TRANSFORM_HEADS = 4
_SLOT_LENGTH = 32
_FROM_ZERO = ("num_frame_tokens", "memory_token_id", "num_key_layers", "num_relation_layers", "classifier_vector_size")


class _ExternalPeftType(str):
    """Looks enough like a member of PEFT's closed `PeftType(str, Enum)`: transformers' adapter code reads `.value`."""

    __slots__ = ()

    @property
    def value(self) -> str:
        return str.__str__(self)

    name = value

    def __reduce__(self) -> tuple[Any, ...]:
        return _ExternalPeftType, (str.__str__(self),)


PEFT_TYPE = _ExternalPeftType("PREF_MEMORY")


@dataclass
class PrefMemoryConfig(PeftConfig):
    """
    Configuration of a preference memory for one frozen causal LM. Stored as PEFT's `adapter_config.json`.

    Args:
        num_soft_tokens (`int`, defaults to 16): Soft tokens that one read gives the LM. They stand inside the
            user's turn, at its end.
        cell (`str`, defaults to `"slots"`): Memory cell: `"slots"`, `"pref_lstm"` (the paper's), `"lstm"`, `"prompt"`
            (a soft prompt that knows nothing of its user) or `"one_vector"` (xRAG's form).
        memory_token_id (`int`, *optional*): Vocabulary id that stands for a soft token in `input_ids`, see
            [`pick_memory_token_id`]. It must be set before prompts with placeholders can be read.
        hidden_size (`int`, *optional*): Width of the LM's input embedding. Filled in from the LM.
        encoder_name_or_path (`str`): sentence-transformers model that reads the turns.
        encoder_hidden_size (`int`, defaults to 384): Its width.
        num_key_layers (`int`, defaults to 0): How many of the encoder's last layers the adapter replaces by tuned ones,
            to make the vectors that stored turns are found by; 0 takes the encoder's own vectors.
        num_key_heads (`int`, defaults to 12): Attention heads of these layers, as the encoder has.
        memory_size (`int`, defaults to 512): Width of the state of the vector cells (`pref_lstm`, `lstm`).
        num_slots (`int`, defaults to 256): Turns that are kept (`slots`, `one_vector`); the oldest gives way when all
            places are full.
        num_frame_tokens (`int`, defaults to 2): How many of the soft tokens are learned and the same for all users
            (`slots`), the first before a slot's words and the others after them; the other `num_soft_tokens -
            num_frame_tokens` carry the words.
        frame_token_ids (`list[int]`, *optional*): Ids whose embeddings the frame tokens start from.
        slot_length (`int`, *optional*): LM tokens of a turn that a slot keeps (`slots`), at least those that become
            soft tokens. Filled in with 32, or with as many as become soft tokens.
        transform_rank (`int`, defaults to 192): Width of the transform of a slot's words (`slots`), see
            [`SlotTransform`]; a multiple of 4.
        relation_size (`int`, defaults to 128): Width in which two turns are compared for same, reversed, different.
        relation_threshold (`float`, defaults to 0.7): Least cosine of two turns' vectors for the one to repeat or to
            reverse the other (`slots`), where vectors alone decide: without relation layers, and in a scan.
        num_relation_layers (`int`, defaults to 0): How many of the encoder's last layers read a new turn and a like
            stored one as a pair, with changes of low rank (`slots`), see [`RelationEncoder`]; 0 compares vectors alone.
        relation_rank (`int`, defaults to 16): Rank of these changes.
        pair_threshold (`float`, defaults to 0.4): A new turn and a stored one are read as a pair where their vectors
            give *different* a probability below this.
        matter_threshold (`float`, defaults to 0.2): Two stored turns are on the same matter where the probability of
            their being *different* is below this: of these the latest is read (`slots`).
        matter_margin (`float`, defaults to 0.1): How far such a turn's cosine with the query may be below the
            best one's.
        matter_share (`float`, defaults to 0.6): The two best turns are on the same matter, too, where both stand apart:
            their cosines with the query are at least 0.1 above the third's (and 0.2), the second's is above it by more
            than this share of what the first's is, and *different* has a probability below 0.9; 1 leaves this out.
        classifier_vector_size (`int`, defaults to 0): Width of the classifier's pooled representation, where that is
            the turn's vector, as in the paper; 0 takes the encoder's vector.
        classifier_name_or_path (`str`, *optional*): Hub id or folder of the detector's classifier. Where none is named
            and one is needed, it is the one that ships with the package.
        classifier_revision (`str`, *optional*): Its revision.

    Raises:
        TypeError: for an unknown argument.
        ValueError: for a value out of range.
    """

    num_soft_tokens: int = field(default=16)
    cell: str = field(default="slots")
    memory_token_id: int | None = field(default=None)
    hidden_size: int | None = field(default=None)
    encoder_name_or_path: str = field(default="sentence-transformers/all-MiniLM-L6-v2")
    encoder_hidden_size: int = field(default=384)
    num_key_layers: int = field(default=0)
    num_key_heads: int = field(default=12)
    memory_size: int = field(default=512)
    num_slots: int = field(default=NUM_SLOTS)
    num_frame_tokens: int = field(default=2)
    frame_token_ids: list[int] | None = field(default=None)
    slot_length: int | None = field(default=None)
    transform_rank: int = field(default=192)
    relation_size: int = field(default=128)
    relation_threshold: float = field(default=0.7)
    num_relation_layers: int = field(default=0)
    relation_rank: int = field(default=16)
    pair_threshold: float = field(default=0.4)
    matter_threshold: float = field(default=0.2)
    matter_margin: float = field(default=0.1)
    matter_share: float = field(default=0.6)
    classifier_vector_size: int = field(default=0)
    classifier_name_or_path: str | None = field(default=None)
    classifier_revision: str | None = field(default=None)
    # BaseTuner.inject_adapter reads `.target_modules` unconditionally.
    target_modules: list[str] | set[str] | str | None = field(default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PEFT_TYPE
        self.task_type: str = getattr(self, "task_type", None) or "CAUSAL_LM"
        if isinstance(self.target_modules, list):
            self.target_modules = set(self.target_modules)
        if self.cell not in CELL_NAMES:
            raise ValueError(f"`cell` must be one of {list(CELL_NAMES)}, got '{self.cell}'.")
        for name in ("num_soft_tokens", "encoder_hidden_size", "memory_size", "num_slots", "transform_rank",
                     "relation_size", "relation_rank", "hidden_size", "num_key_heads", "slot_length",
                     *_FROM_ZERO):  # fmt: skip
            value, least = getattr(self, name), int(name not in _FROM_ZERO)
            if value is None and name in ("hidden_size", "memory_token_id", "slot_length"):
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"`{name}` must be a whole number of at least {least}, got {value!r}.")
        for name, what in (
            ("pair_threshold", "probability"),
            ("matter_threshold", "probability"),
            ("matter_share", "share"),
        ):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 <= value <= 1:
                raise ValueError(f"`{name}` must be a {what}, from 0 to 1, got {value!r}.")
        for name in ("relation_threshold", "matter_margin"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not -1 <= value <= 1:
                raise ValueError(f"`{name}` must be a cosine, from -1 to 1, got {value!r}.")
        if self.transform_rank % TRANSFORM_HEADS:
            raise ValueError(f"`transform_rank` must be a multiple of {TRANSFORM_HEADS}, got {self.transform_rank}.")
        if self.cell == "slots" and self.num_frame_tokens >= self.num_soft_tokens:
            raise ValueError(
                f"`num_frame_tokens` must be below `num_soft_tokens` ({self.num_soft_tokens}), "
                f"got {self.num_frame_tokens}: the rest carries a slot's words."
            )
        if self.slot_length is None:
            self.slot_length = max(_SLOT_LENGTH, self.num_content_tokens)
        if self.cell == "slots" and self.slot_length < self.num_content_tokens:
            raise ValueError(
                f"`slot_length` must be at least the {self.num_content_tokens} soft tokens that carry a slot's words, "
                f"got {self.slot_length}."
            )
        if self.num_relation_layers and self.cell != "slots":
            raise ValueError(
                f"`num_relation_layers` must be 0 but for the cell 'slots', got {self.num_relation_layers} for "
                f"'{self.cell}', which keeps no turn to read."
            )
        if self.classifier_vector_size and (self.cell not in ("pref_lstm", "lstm") or self.num_key_layers):
            raise ValueError(
                "`classifier_vector_size` must be 0 but for the cells 'pref_lstm' and 'lstm' without key layers, got "
                f"{self.classifier_vector_size}: elsewhere a turn's vector is the encoder's."
            )
        if self.frame_token_ids is not None and len(self.frame_token_ids) != self.num_frame_tokens:
            raise ValueError(
                f"`frame_token_ids` must hold `num_frame_tokens` ({self.num_frame_tokens}) ids, "
                f"got {len(self.frame_token_ids)}."
            )

    @property
    def vector_size(self) -> int:
        """Width of the vectors of turns and queries."""
        return self.classifier_vector_size or self.encoder_hidden_size

    @property
    def num_content_tokens(self) -> int:
        """Soft tokens that carry a slot's words."""
        return self.num_soft_tokens - self.num_frame_tokens
