"""A tokenizer for text that is data: a control token that is spelled out in it stays the characters that it is."""

from __future__ import annotations

import copy
import threading
from typing import Any
from weakref import WeakKeyDictionary

from transformers import PreTrainedTokenizerBase

_COPIES: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[int, PreTrainedTokenizerBase]] = WeakKeyDictionary()
_MAKING = threading.Lock()


def tokenize_text(tokenizer: PreTrainedTokenizerBase, text: str, **kwargs: Any) -> Any:
    """
    A text as tokens without a meaning beyond it, and without those that a tokenizer would add.

    `split_special_tokens` is state of a fast tokenizer, not of a call: between two threads it would turn a user's text
    into control tokens, or control tokens into text. So data goes through a copy of the tokenizer, whose state stays.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): The LM's; it is not touched.
        text (`str`): Of a user.
        kwargs: For the tokenizer.
    """
    with _MAKING:
        size, data_tokenizer = _COPIES.get(tokenizer, (None, None))
        if data_tokenizer is None or size != len(tokenizer):  # tokens were added
            data_tokenizer = copy.deepcopy(tokenizer)
            data_tokenizer("", split_special_tokens=True)
            _COPIES[tokenizer] = (len(tokenizer), data_tokenizer)
    return data_tokenizer(text, add_special_tokens=False, split_special_tokens=True, **kwargs)
