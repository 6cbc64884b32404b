"""A two-layer BERT with random weights and its word-piece tokenizer, made in memory for the classifier's tests."""

from __future__ import annotations

import torch
from transformers import BertConfig, BertModel, BertTokenizer

WORDS = "i love hate do not tea coffee what is the my sister likes answer in short lists please yes no hello we".split()


def tiny_encoder(hidden_size: int = 16) -> BertModel:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=5 + len(WORDS) + 26,
        hidden_size=hidden_size,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=512,
    )
    return BertModel(config).eval()


def tiny_tokenizer() -> BertTokenizer:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    pieces += [letter for letter in "abcdefghijklmnopqrstuvwxyz" if letter not in pieces]
    return BertTokenizer(vocab={piece: index for index, piece in enumerate(pieces)})


def save_tiny_encoder(folder) -> str:
    tiny_encoder().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)
