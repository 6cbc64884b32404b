"""
The memory under plain transformers and PEFT: two users in one batch of `generate`, then a decoding loop by hand.

    python examples/06_plain_generate.py
    python examples/06_plain_generate.py --adapter FOLDER

It prints both users' answers to one question, and whether the loop by hand gives the same tokens.
"""

from __future__ import annotations

import argparse
import tempfile
from importlib.resources import files
from pathlib import Path

import torch
from peft import PeftModel
from pref_lstm.modeling import build_prompt

from pref_lstm import PrefMemoryConfig, Turn, TurnEncoder, load_language_model

SAID = [Turn("I hate seafood, even the smell of fish."), Turn("I love meat, without it dinner is no dinner.")]
QUESTION = "What should I cook tonight?"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", default=str(files("pref_lstm") / "default_adapter"), help="an adapter's folder")
    parser.add_argument("--max-new-tokens", type=int, default=24)
    parser.add_argument("--tiny", action="store_true", help="random weights made on the spot: shows that it runs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.tiny:
            from tiny_models import tiny_adapter

            options.adapter = str(tiny_adapter(Path(folder)))

        # 1. An LM and an adapter, as for any PEFT method. (`load_language_model` knows the embedded copy, too.)
        config = PrefMemoryConfig.from_pretrained(options.adapter)
        lm, tokenizer = load_language_model(config.base_model_name_or_path)
        model = PeftModel.from_pretrained(lm, options.adapter).eval()
        memory, embed = model.base_model.memory, model.base_model.embed
        encoder = TurnEncoder.from_pretrained(config.encoder_name_or_path, tokenizer, memory.key_encoder)

    with torch.inference_mode():
        # 2. One row per user: two empty memories, and what each of the two said.
        state = memory.update(encoder.encode(SAID), memory.initial_state(2), embed)
        query = encoder.encode_query([QUESTION] * 2)

        # 3. The chat template, with a block of placeholders at the end of the user's message.
        message = [{"role": "user", "content": QUESTION}]
        ids = torch.tensor([build_prompt(tokenizer, message, config.memory_token_id, [config.num_soft_tokens])] * 2)
        said = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), memory_state=state, memory_query=query,
            max_new_tokens=options.max_new_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        for turn, answer in zip(SAID, said[:, ids.shape[1] :], strict=True):
            print(f"{turn.user} {QUESTION} -> {tokenizer.decode(answer, skip_special_tokens=True)}")

        # 4. The same for the first user, token by token. The memory is needed once: then it is in the cache.
        out = model(input_ids=ids[:1], memory_state=state.rows([0]), memory_query=query[:1], use_cache=True)
        by_hand: list[int] = []
        while len(by_hand) < options.max_new_tokens and lm.generation_config.eos_token_id not in by_hand:
            logits = out.logits[:, -1]
            logits[:, config.memory_token_id] = -torch.inf  # a placeholder is never an answer
            token = logits.argmax(-1, keepdim=True)
            by_hand.append(int(token))
            out = model(input_ids=token, past_key_values=out.past_key_values, use_cache=True)
        print("the same by hand:", by_hand == said[0, ids.shape[1] :][: len(by_hand)].tolist())


if __name__ == "__main__":
    main()
