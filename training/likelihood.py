"""How likely the frozen LM finds an answer, after prompts with or without soft tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
import torch.nn.functional as F
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM
from pref_lstm.modeling.outputs import MemoryReadout
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .score_cache import ScoreCache, cache_key, lm_fingerprint

OnBatch = Callable[[int, int], None]
_SIGNATURE_SIZE = 8


@dataclass(frozen=True, eq=False)
class Reading:
    """
    What the LM reads before it answers.

    Args:
        prompt (`list[int]`): Token ids, with one placeholder for each soft token.
        num_tokens (`int`): How many of them say something about the user.
        soft_tokens (`torch.Tensor` of shape `(num_soft_tokens, hidden)`, *optional*): None for text.
    """

    prompt: list[int]
    num_tokens: int
    soft_tokens: torch.Tensor | None = None

    @cached_property
    def signature(self) -> str:
        """
        What the reading says, in short: the same for soft tokens that differ by float rounding only.

        Soft tokens enter by a fixed random projection, so a memory that reads the same words out of ten stored
        preferences as out of one is scored once.
        """
        return f"{self.prompt} {soft_signature(self.soft_tokens)}"


def soft_signature(soft_tokens: torch.Tensor | None) -> list[float]:
    """Projection `(8,)` of soft tokens, rounded to 1e-3."""
    if soft_tokens is None:
        return []
    flat = soft_tokens.detach().float().cpu().flatten()
    return [round(value, 3) + 0.0 for value in (_projection(flat.numel()) @ flat).tolist()]


@lru_cache
def _projection(size: int) -> torch.Tensor:
    return torch.randn(_SIGNATURE_SIZE, size, generator=torch.Generator().manual_seed(0))


class AnswerScorer:
    """
    Scores answers under one model, in batches of similar length, and never the same one twice.

    Args:
        model ([`~transformers.PreTrainedModel`]): A plain LM, or a [`PrefLSTMForCausalLM`] for readings with soft
            tokens. Its memory is not read here.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): The LM's.
        cache ([`ScoreCache`], *optional*): Results of earlier runs.
        batch_tokens (`int`, defaults to 1024): Prompt and answer tokens of one forward pass.
        on_batch (`Callable[[int, int], None]`, *optional*): Told, after each batch, tokens done and tokens in all.
        bf16 (`bool`, defaults to `False`): Autocast to bfloat16: faster on GPUs and CPUs with AMX, and less exact.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        cache: ScoreCache | None = None,
        batch_tokens: int = 1024,
        on_batch: OnBatch = lambda done, total: None,
        bf16: bool = False,
    ) -> None:
        self.model, self.tokenizer, self.batch_tokens, self.on_batch = model, tokenizer, batch_tokens, on_batch
        self.bf16 = bf16
        self.cache = ScoreCache() if cache is None else cache
        is_composite = isinstance(model, PrefLSTMForCausalLM)
        lm_key = lm_fingerprint(model.language_model.get_base_model() if is_composite else model)
        self.lm_key = f"{lm_key} bf16" if bf16 else lm_key

    def key(self, kind: str, reading: Reading, answer: Sequence[int] = ()) -> str:
        """Under which name a result for this LM, reading and answer is kept."""
        return cache_key(kind, self.lm_key, reading.signature, list(answer))

    def nll(self, readings: Sequence[Reading], answers: Sequence[Sequence[int]]) -> list[list[float]]:
        """Negative log-likelihood of each token of each answer, in nats."""
        keys = [self.key("nll", r, a) for r, a in zip(readings, answers, strict=True)]
        due = {key: (r, list(a)) for key, r, a in zip(keys, readings, answers, strict=True) if key not in self.cache}
        for names, logits, gold in self._batches(due):
            losses = [F.cross_entropy(rows, ids, reduction="none") for rows, ids in zip(logits, gold, strict=True)]
            self.cache.put({name: _rounded(loss) for name, loss in zip(names, losses, strict=True)})
        return [self.cache[key] for key in keys]

    def kl(
        self, references: Sequence[Reading], readings: Sequence[Reading], answers: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        """KL(LM after the reference || LM after the reading) at each token of each answer, in nats."""
        keys = [
            cache_key("kl", self.key("", b, a), r.signature)
            for b, r, a in zip(references, readings, answers, strict=True)
        ]
        # Pair by pair: a whole data set's distributions would not fit into memory.
        rows = list(zip(keys, references, readings, answers, strict=True))
        for done, (key, reference, reading, answer) in enumerate(rows, start=1):
            if key in self.cache:
                continue
            [p], [q] = self.answer_logits([reference], [answer]), self.answer_logits([reading], [answer])
            p, q = p.log_softmax(-1), q.log_softmax(-1)
            self.cache.put({key: _rounded((p.exp() * (p - q)).sum(-1))})
            self.on_batch(done, len(rows))
        return [self.cache[key] for key in keys]

    @torch.no_grad()
    def answer_logits(self, readings: Sequence[Reading], answers: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Logits `(answer tokens, vocabulary)`, float32, at each answer's tokens, in one batch."""
        return self._forward([(r, list(a)) for r, a in zip(readings, answers, strict=True)])[0]

    @torch.inference_mode()
    def _batches(
        self, due: dict[str, tuple[Reading, list[int]]]
    ) -> Iterator[tuple[list[str], list[torch.Tensor], list[torch.Tensor]]]:
        """Names, logits `(answer tokens, vocabulary)` float32 and answer ids, batch by batch."""
        lengths = {name: len(r.prompt) + len(a) for name, (r, a) in due.items()}
        done, total = 0, sum(lengths.values())
        for soft in (False, True):
            names = sorted((n for n, (r, _) in due.items() if (r.soft_tokens is not None) == soft), key=lengths.get)  # type: ignore[arg-type]
            while names:
                size = max(1, self.batch_tokens // lengths[names[-1]])
                batch, names = names[-size:], names[:-size]  # the longest first: memory runs out early or never
                yield batch, *self._forward([due[name] for name in batch])
                done += sum(lengths[name] for name in batch)
                self.on_batch(done, total)

    def _forward(self, rows: Sequence[tuple[Reading, list[int]]]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        device, tokenizer = self.model.device, self.tokenizer
        ids = [[*reading.prompt, *answer] for reading, answer in rows]
        batch = tokenizer.pad({"input_ids": ids}, padding_side="right", return_tensors="pt").to(device)
        keep = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
        for r, (reading, answer) in enumerate(rows):
            keep[r, len(reading.prompt) - 1 : len(reading.prompt) + len(answer) - 1] = True
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
            out = self.model(**batch, **readout_of([r for r, _ in rows]), logits_to_keep=keep, use_cache=False)
        logits = out.logits.view(-1, out.logits.shape[-1]).float()
        gold = [torch.tensor(answer, device=device) for _, answer in rows]
        return list(logits.split([len(a) for _, a in rows])), gold


def readout_of(readings: Sequence[Reading]) -> dict[str, MemoryReadout]:
    """The argument of `forward` and `generate` that carries the soft tokens of a batch, none for prompts of text."""
    soft = [r.soft_tokens for r in readings if r.soft_tokens is not None]
    if not soft:
        return {}
    stacked = torch.stack(soft)
    is_open = torch.ones(stacked.shape[:2], dtype=torch.bool, device=stacked.device)
    return {"memory_readout": MemoryReadout(stacked, is_open, torch.ones(len(soft), device=stacked.device))}


def _rounded(values: torch.Tensor) -> list[float]:
    """What the cache's file holds, so that a resumed run gives the same figures to the last digit."""
    return [round(value, 6) for value in values.tolist()]
