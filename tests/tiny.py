"""Small stand-ins built in memory: a word-level tokenizer, language models of five families, a sentence encoder."""

import tempfile
from collections.abc import Sequence

import torch
from pref_lstm.modeling.configuration_pref_memory import PrefMemoryConfig
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM
from pref_lstm.modeling.outputs import EncodedTurn
from pref_lstm.modeling.turn import Detection, Turn
from pref_lstm.modeling.turn_encoder import TurnEncoder
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    BertConfig,
    BertModel,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

FAMILIES = ("llama", "qwen2", "gpt2", "gemma3", "opt")
CELLS = ("slots", "pref_lstm", "lstm", "prompt", "one_vector")
TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}
ENCODER_WIDTH = 16

PLACEHOLDER = "<|reserved_0|>"
_ROLES = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
_CHAT = ["<|im_start|>", "<|im_end|>"]
_WORDS = (
    "system user assistant i you we my me it the a an is are do not no never without like love hate prefer "
    "enjoy want avoid please tea coffee green black meat fish maps trains cats dogs music jazz rain sun city "
    "quiet loud long short answers what which where should can cook read visit tonight tomorrow for in on of "
    "to and or but with some any good here there try this that one two how plan trip book dinner t don im "
    "reserved start end"
).split()
_PUNCTUATION = [*".,!?'\"<>|_/[]:;-", "\n"]
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

TURNS = [
    Turn("I love green tea.", agent="What do you like?"),
    Turn("please do not plan trips on trains, I hate trains and I never enjoy long visits"),
    Turn("my cats", agent="cats or dogs?"),
]


def make_tokenizer(spare: bool = True) -> PreTrainedTokenizerFast:
    """Whole words, line breaks kept; `spare` says whether one special token is left over for the memory."""
    special = [*_ROLES.values(), *_CHAT, *([PLACEHOLDER] if spare else [])]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys([*special, *_PUNCTUATION, *_WORDS]))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n|[^\W_]+|[^\w\s]|_"), "removed", invert=True)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, **_ROLES, extra_special_tokens=special[len(_ROLES) :], padding_side="left"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_lm(family: str = "llama", seed: int = 0, **overrides: object) -> PreTrainedModel:
    """A two-layer LM of random weights; the same seed gives the same weights."""
    vocab = {"vocab_size": len(make_tokenizer()), "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3}
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    grouped = {**vocab, **sizes, "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.2}
    gemma = {**grouped, "head_dim": 8, "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 128}
    gpt2 = {**vocab, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "initializer_range": 0.2}
    gpt2 |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    # Its embedding is narrower than its layers, as in the smallest OPT.
    opt = {**vocab, "hidden_size": 32, "word_embed_proj_dim": 24, "ffn_dim": 48, "num_hidden_layers": 2, "dropout": 0.0}
    opt |= {"num_attention_heads": 4, "max_position_embeddings": 256, "init_std": 0.2}
    model_class, config_class, values = {
        "llama": (LlamaForCausalLM, LlamaConfig, grouped),
        "qwen2": (Qwen2ForCausalLM, Qwen2Config, {**grouped, "tie_word_embeddings": True}),
        "gpt2": (GPT2LMHeadModel, GPT2Config, gpt2),
        "gemma3": (Gemma3ForCausalLM, Gemma3TextConfig, gemma),
        "opt": (OPTForCausalLM, OPTConfig, opt),
    }[family]
    torch.manual_seed(seed)
    lm = model_class(config_class(**{**values, **overrides})).eval()
    # No early end: answers that are compared have one length.
    lm.generation_config.eos_token_id = None
    return lm


def tiny_config(cell: str = "slots", **overrides: object) -> PrefMemoryConfig:
    sizes = {"num_soft_tokens": 6, "num_frame_tokens": 2, "encoder_hidden_size": ENCODER_WIDTH, "memory_size": 12,
             "num_slots": 5, "slot_length": 6, "transform_rank": 8, "relation_size": 6, "relation_threshold": -1.0,
             "matter_threshold": 0.4, "matter_margin": 0.5, "matter_share": 0.3}  # fmt: skip
    return PrefMemoryConfig(cell=cell, encoder_name_or_path="tiny-encoder", **{**sizes, **overrides})


def make_model(
    family: str = "llama", cell: str = "slots", seed: int = 0, dtype: torch.dtype = torch.float32, **overrides: object
) -> PrefLSTMForCausalLM:
    """An LM with a fresh memory, all its parameters asymmetric, in eval mode."""
    lm = make_lm(family, seed).to(dtype)
    torch.manual_seed(seed + 1)
    model = PrefLSTMForCausalLM.from_language_model(lm, make_tokenizer(), tiny_config(cell, **overrides)).eval()
    scramble(model.memory, seed + 2)
    return model


def scramble(module: torch.nn.Module, seed: int = 0, scale: float = 0.3) -> None:
    """Move every parameter off its initial value, so that nothing agrees by being zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator)


def make_encoder(width: int = ENCODER_WIDTH, seed: int = 0) -> SentenceTransformer:
    """A two-layer BERT over word pieces of single characters, with mean pooling."""
    pieces = [chr(c) for c in range(33, 127) if not chr(c).isupper()] + list("éñ日本語が好きです")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "tea", "cats", "train", "love", "hate"]
    vocabulary += pieces + [f"##{piece}" for piece in pieces]
    backend = Tokenizer(models.WordPiece({w: i for i, w in enumerate(vocabulary)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(strip_accents=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=width, intermediate_size=4 * width, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=256, initializer_range=0.2,
    )  # fmt: skip
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        BertModel(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        transformer = Transformer(folder)
    return SentenceTransformer(modules=[transformer, Pooling(width)], device="cpu")


def make_turn_encoder() -> TurnEncoder:
    return TurnEncoder(make_encoder(), make_tokenizer())


def random_turns(batch: int, num_turns: int, seed: int = 0, turn_length: int = 7, vocab: int = 60) -> EncodedTurn:
    """`(batch, num_turns, …)` turns of random content and of 1 to `turn_length` tokens."""
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, turn_length + 1, (batch, num_turns, 1), generator=g)
    mask = torch.arange(turn_length) < lengths
    return EncodedTurn(
        torch.randn(batch, num_turns, ENCODER_WIDTH, generator=g),
        torch.randint(8, vocab, (batch, num_turns, turn_length), generator=g) * mask,
        mask,
        torch.randn(batch, num_turns, turn_length, ENCODER_WIDTH, generator=g) * mask.unsqueeze(-1),
        3 * torch.rand(batch, num_turns, turn_length, generator=g) * mask,
    )


class KeywordDetector:
    """Lets a turn in that holds one of a few verbs."""

    def detect(self, turns: Sequence[Turn]) -> list[Detection]:
        found = [any(verb in turn.user.lower() for verb in ("love", "hate", "prefer")) for turn in turns]
        return [Detection(0.9 if f else 0.1, f, "keyword" if f else "none") for f in found]
