"""Turns to token ids: the agent's line as first segment, the user's message as second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from transformers import BatchEncoding, PreTrainedTokenizerBase

from .turn import Turn

MAX_AGENT_LENGTH = 48
MAX_USER_LENGTH = 128
# Of a message that asks: what it asks for stands at its beginning or end, and the rest makes its vector vague.
MAX_QUERY_LENGTH = 40
QUERY_TAIL = 2
_T = TypeVar("_T")
# Few word pieces have more characters than this: what is read is cut before it is tokenized.
_CHARACTERS_PER_TOKEN = 24


def tokenize_turns(
    tokenizer: PreTrainedTokenizerBase,
    turns: Sequence[Turn],
    max_length: int = MAX_USER_LENGTH,
    padding: bool = True,
    tail: int = 4,
) -> BatchEncoding:
    """
    Tokenizes turns as pairs `[CLS] agent [SEP] user [SEP]`; the first segment is empty where the agent said nothing.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): The encoder's tokenizer; it must know [CLS] and [SEP].
        turns (sequence of [`Turn`]): `batch` turns.
        max_length (`int`, *optional*, defaults to 128):
            Most tokens of the user's message that are read. Of a longer one both ends are kept: people put what they
            want at either. Of the agent's line the last 48 tokens are kept.
        padding (`bool`, *optional*, defaults to `True`): Whether to pad to the longest row and return tensors.
        tail (`int`, *optional*, defaults to 4): One part in so many of a longer message is its end.

    Returns:
        [`~transformers.BatchEncoding`]: `input_ids`, `token_type_ids` (1 on the user's segment) and `attention_mask`,
        each int64 `(batch, length)`, padded right; lists of lists without `padding`.
    """
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    agents = [turn.agent[-_CHARACTERS_PER_TOKEN * MAX_AGENT_LENGTH :] for turn in turns]
    users = [readable_part(turn.user, max_length, tail) for turn in turns]
    rows: dict[str, list[list[int]]] = {"input_ids": [], "token_type_ids": []}
    plain = {"add_special_tokens": False, "return_attention_mask": False, "verbose": False}
    for agent, user in zip(
        tokenizer(agents, **plain)["input_ids"], tokenizer(users, **plain)["input_ids"], strict=True
    ):
        first = [cls, *agent[-MAX_AGENT_LENGTH:], sep]
        user = keep_ends(user, max_length, tail)
        rows["input_ids"].append([*first, *user, sep])
        rows["token_type_ids"].append([0] * len(first) + [1] * (len(user) + 1))
    encoding = BatchEncoding({**rows, "attention_mask": [[1] * len(ids) for ids in rows["input_ids"]]})
    return tokenizer.pad(encoding, return_tensors="pt") if padding else encoding


def keep_ends(items: list[_T], limit: int, tail: int = 4) -> list[_T]:
    """Of a longer list the beginning and the end, `limit` in all, one part in `tail` of it from the end."""
    last = limit // tail
    return items if len(items) <= limit else items[: limit - last] + items[len(items) - last :]


def readable_part(text: str, max_length: int = MAX_USER_LENGTH, tail: int = 4) -> str:
    """What [`tokenize_turns`] reads: of a very long text the beginning and the end, as [`keep_ends`]."""
    limit = _CHARACTERS_PER_TOKEN * max_length
    if len(text) <= limit:
        return text
    return f"{text[: limit - limit // tail]} {text[len(text) - limit // tail :]}"
