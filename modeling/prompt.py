"""Chat prompts with room for the memory, in which a user's text is data and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from .text_tokenizer import tokenize_text

# Private-use characters stand for the messages while the template is rendered: the template never sees their text.
_OPEN, _CLOSE = "\ue000", "\ue001"


def build_prompt(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[dict[str, str]],
    memory_token_id: int | None = None,
    blocks: Sequence[int] = (),
    add_generation_prompt: bool = True,
) -> list[int]:
    """
    Token ids of a conversation under the LM's chat template, with a block of placeholders at the end of user messages.

    The template is rendered around stand-ins. A message that spells `<|im_end|>` or the placeholder's name is tokenised
    by itself with [`tokenize_text`], so it stays text; without blocks the ids of all others are those of
    `apply_chat_template`. White space around a message is dropped.

    Args:
        tokenizer: The LM's tokenizer, with a chat template.
        messages (`Sequence[dict[str, str]]`): `role` and `content`, as for `apply_chat_template`.
        memory_token_id (`int`, *optional*): The placeholder id.
        blocks (`Sequence[int]`, *optional*): Number of placeholders for each message; missing ones are 0. The end of
            the user's message is where they act most: next to the answer.
        add_generation_prompt (`bool`, defaults to `True`): Whether the agent's turn is opened at the end.

    Returns:
        `list[int]`, without padding.

    Raises:
        ValueError: if there is no chat template, or a block is asked for without `memory_token_id`.
    """
    if tokenizer.chat_template is None:
        raise ValueError(
            "The tokenizer must have a chat template, got none. Use an instruction-tuned LM or set "
            "`tokenizer.chat_template`."
        )
    if any(blocks) and memory_token_id is None:
        raise ValueError("`memory_token_id` must be given for prompts with placeholders, got None.")
    if not messages:
        raise ValueError("`messages` must hold at least one message, got none.")
    masked = [{**m, "content": f"{_OPEN}{i}{_CLOSE}"} for i, m in enumerate(messages)]
    rendered: Any = tokenizer.apply_chat_template(masked, tokenize=False, add_generation_prompt=add_generation_prompt)
    # Text around a stand-in belongs to the template (special tokens are meant), text in its place to the message.
    parts, rest = [], str(rendered)
    for i, message in enumerate(messages):
        before, found, rest = rest.partition(f"{_OPEN}{i}{_CLOSE}")
        if not found:
            raise ValueError(
                f"The chat template leaves out message {i} (role '{message['role']}'). Merge or drop that message."
            )
        parts.append(before)
    parts.append(rest)
    special = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}

    def encode(text: str) -> list[int]:
        out: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return out if text else []

    def controls(text: str) -> list[int]:
        return [index for index in encode(text) if index in special]

    ids: list[int] = []
    pending = parts[0]  # one string as long as possible: tokens merge across the borders as in the template
    for i, message in enumerate(messages):
        content, before, after = message["content"].strip(), parts[i], parts[i + 1]
        if controls(before + content + after) == controls(before) + controls(after):
            pending += content
        else:
            ids += encode(pending) + list(tokenize_text(tokenizer, content)["input_ids"])
            pending = ""
        if i < len(blocks) and blocks[i]:
            ids += encode(pending) + [int(memory_token_id or 0)] * blocks[i]
            pending = ""
        pending += after
    return ids + encode(pending)
