"""The placeholder id: which vocabulary entry stands for a soft token, and where a block of them goes."""

from __future__ import annotations

import re

import torch
from transformers import PreTrainedTokenizerBase

_SPARE_NAMES = re.compile(r"reserved|unused|extra_id|dummy|placeholder", re.IGNORECASE)


def pick_memory_token_id(tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> int:
    """
    An id inside the embedding matrix that no ordinary text of this LM produces.

    Rows past the tokenizer's vocabulary come first, then tokens whose name says that they are spare
    (`<|reserved_special_token_0|>`, `<unused0>`), then added special tokens that play no role in the chat template.

    Args:
        tokenizer: The LM's tokenizer.
        vocab_size (`int`): Rows of the LM's input embedding.

    Raises:
        ValueError: if there is no such id.
    """
    if len(tokenizer) < vocab_size:
        return vocab_size - 1
    added = {index: str(token) for index, token in tokenizer.added_tokens_decoder.items() if index < vocab_size}
    roles = {token for name in tokenizer.SPECIAL_TOKENS_ATTRIBUTES for token in _tokens(tokenizer, name)}
    template = tokenizer.chat_template or ""
    free = [i for i, name in sorted(added.items()) if name not in roles and name not in str(template)]
    spare = [i for i in free if _SPARE_NAMES.search(added[i])]
    if spare or free:
        return (spare or free)[-1]
    raise ValueError(
        f"Expected a vocabulary entry that this tokenizer never uses, found none among its {len(tokenizer)} tokens. "
        "Add one special token, resize the embeddings by it, and pass its id as `memory_token_id`."
    )


def _tokens(tokenizer: PreTrainedTokenizerBase, name: str) -> list[str]:
    value = getattr(tokenizer, name, None)
    return [str(value)] if value is not None and not isinstance(value, (list, tuple)) else [str(v) for v in value or []]


def insert_placeholders(
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor | None,
    labels: torch.Tensor | None,
    token_id: int,
    count: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """
    Put a block of `count` placeholders in front of the first attended token of every row.

    Args:
        input_ids (`torch.Tensor` of shape `(batch, length)`): Prompt ids without placeholders, padded on either side.
        attention_mask (`torch.Tensor` of shape `(batch, length)`, *optional*): 1 where the id is real.
        labels (`torch.Tensor` of shape `(batch, length)`, *optional*): Placeholders get -100.

    Returns:
        ids, mask (of the mask's own dtype) and labels, each `(batch, length + count)`.
    """
    batch, length = input_ids.shape
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    start = mask.long().argmax(dim=1, keepdim=True)
    position = torch.arange(length + count, device=input_ids.device)[None]
    is_memory = (position >= start) & (position < start + count)

    def place(values: torch.Tensor, fill: int) -> torch.Tensor:
        out = values.new_full((batch, length + count), fill)
        out[~is_memory] = values.reshape(-1)
        return out

    return place(input_ids, token_id), place(mask, 1), None if labels is None else place(labels, -100)
