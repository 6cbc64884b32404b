"""A two-layer BERT with random weights and its word-piece tokenizer, made in memory for the classifier's tests."""

from __future__ import annotations

import torch
from pref_lstm.modeling.modeling_classifier import PreferenceClassifier
from pref_lstm.modeling.turn import Turn
from pref_lstm.modeling.turn_tokenization import tokenize_turns
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


CHANGED = {"num_tuned_layers": 2, "change_rank": 3, "hidden_state_indices": []}
TURNS = [
    Turn("i love tea", "what is the coffee"),
    Turn("hello"),
    Turn("my sister likes short lists please", "hello we"),
]


def make(**fields):
    fields = {"num_tuned_layers": 1, "hidden_state_indices": [0, 2], "head_size": 8, **fields}
    torch.manual_seed(1)
    model = PreferenceClassifier.from_encoder("tiny", tiny_encoder(), **fields)
    with torch.no_grad():
        model.mix.weight.copy_(torch.arange(len(model.mix.weight)).float())
    return model.eval()


def read(model, turns):
    return model(**tokenize_turns(tiny_tokenizer(), turns)).logits
