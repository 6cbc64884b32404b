"""The ways to give a preference to an LM as text: the ceiling that the memory is measured against, and its teacher."""

from __future__ import annotations

from collections.abc import Sequence

from pref_lstm.modeling.prompt import build_prompt
from pref_lstm.modeling.text_tokenizer import tokenize_text
from transformers import PreTrainedTokenizerBase


def question_prompt(tokenizer: PreTrainedTokenizerBase, question: str) -> list[int]:
    """The question alone, under the chat template."""
    return build_prompt(tokenizer, [{"role": "user", "content": question}])


def prefix_prompt(tokenizer: PreTrainedTokenizerBase, preferences: Sequence[str], question: str) -> list[int]:
    """The preferences and a space before the chat prompt (architecture.md section 4, "prefix")."""
    text = tokenize_text(tokenizer, " ".join(preferences) + " ")
    return list(text["input_ids"]) + question_prompt(tokenizer, question)


def reminder_prompt(tokenizer: PreTrainedTokenizerBase, preferences: Sequence[str], question: str) -> list[int]:
    """The preferences inside the user's turn, with a reminder: the stronger form."""
    reminder = (
        f"{question} (Reminder: {' '.join(preferences)} Please make sure that your answer follows this preference.)"
    )
    return build_prompt(tokenizer, [{"role": "user", "content": reminder}])


def memory_prompt(
    tokenizer: PreTrainedTokenizerBase, question: str, memory_token_id: int, num_soft_tokens: int
) -> list[int]:
    """The question with a block of placeholders at the end of the user's turn."""
    return build_prompt(tokenizer, [{"role": "user", "content": question}], memory_token_id, [num_soft_tokens])
