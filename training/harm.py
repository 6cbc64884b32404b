"""What a memory does to answers that it has no business in."""

from __future__ import annotations

import random
from collections.abc import Sequence

from pref_lstm.modeling.turn import Turn

from .history_writer import HistoryWriter
from .likelihood import AnswerScorer, Reading
from .memory_metrics import with_interval
from .teacher import answer_ids
from .text_forms import question_prompt

_MAX_ANSWER_TOKENS = 64
# Longer prompts are cut: what they ask stands at their beginning, and the batch must fit.
_MAX_CHARACTERS = 2_000


def harm(
    scorer: AnswerScorer,
    writer: HistoryWriter,
    pairs: Sequence[dict[str, str]],
    preferences: Sequence[Sequence[Turn]],
    num_preferences: int = 10,
    seed: int = 0,
) -> dict[str, float]:
    """
    KL(bare LM || LM with memory), nats per token, on the first 64 tokens of replies to unrelated prompts.

    Args:
        scorer, writer: Of the same model.
        pairs: Rows of [`load_oasst_pairs`]: `prompt` and `reply`.
        preferences (`Sequence[Sequence[Turn]]`): The turns of each preference there is.
        num_preferences (`int`, defaults to 10): Stored for each prompt, drawn anew.
        seed (`int`, defaults to 0): Of that draw.

    Returns:
        `kl_per_token` over all tokens, with a bootstrap 95 % interval over prompts (`kl_per_token_low`, `_high`), and
        `open_share`: for how many prompts the relevance gate was open.
    """
    tokenizer = scorer.tokenizer
    prompts = [pair["prompt"][:_MAX_CHARACTERS] for pair in pairs]
    histories = []
    for i in range(len(pairs)):
        drawn = random.Random(f"{seed} harm {i}").sample(list(preferences), min(num_preferences, len(preferences)))
        histories.append([turn for turns in drawn for turn in turns])
    readings = writer.readings(histories, prompts)
    answers = [answer_ids(tokenizer, pair["reply"], _MAX_ANSWER_TOKENS) for pair in pairs]
    acts = [i for i, reading in enumerate(readings) if reading.soft_tokens is not None]
    bare = [Reading(question_prompt(tokenizer, prompts[i]), 0) for i in acts]
    kl = scorer.kl(bare, [readings[i] for i in acts], [answers[i] for i in acts])
    sums = [0.0] * len(pairs)  # where the gate is closed the LM is the bare one
    for i, values in zip(acts, kl, strict=True):
        sums[i] = sum(values)
    found = with_interval("kl_per_token", sums, seed, sizes=[len(answer) for answer in answers])
    return {**found, "open_share": len(acts) / len(readings)}
