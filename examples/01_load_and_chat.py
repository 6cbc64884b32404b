"""
Load an LM with its memory, tell it something, ask, and keep the memory in a file.

    python examples/01_load_and_chat.py
    python examples/01_load_and_chat.py --model FOLDER_OR_HUB_ID

It prints what the detector let in, the words that the memory holds, and each answer without and with the memory.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from pref_lstm import ChatSession, MemoryState, load_default_detector, load_default_model
from pref_lstm.inspection import describe_slots

SAID = ["I hate seafood, even the smell of fish.", "I love trains and never fly.", "How far is the moon?"]
ASKED = ["What should I cook tonight?", "How should I get from Berlin to Paris?"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder or hub id of an adapter (default: the shipped one)")
    parser.add_argument("--max-new-tokens", type=int, default=40)
    parser.add_argument("--tiny", action="store_true", help="random weights made on the spot: shows that it runs")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        # 1. The frozen LM with its adapter, and the detector. Nothing in the LM is ever changed.
        if options.tiny:
            from tiny_models import tiny_pair

            model, detector = tiny_pair(folder)
        else:
            model, detector = load_default_model(options.model)[0], load_default_detector()

        # 2. What the user says goes through the detector, and into the memory if it reveals a preference.
        chat = ChatSession(model, detector, max_new_tokens=options.max_new_tokens)
        for text in SAID:
            detection = chat.observe(text)
            print(f"{'written ' if detection.is_preference else 'left out'}  {text}  ({detection.reason})")
        for slot in describe_slots(model, chat.state):
            print(f"slot {slot.index} holds: {slot.words}")

        # 3. The memory is a value. A fingerprint ties it to this adapter: another one refuses it.
        chat.state.save(folder / "ada.safetensors", model.memory)
        state = MemoryState.load(folder / "ada.safetensors", model.memory)
        print(f"the memory takes {state.num_bytes:,} bytes, however much was said")

        # 4. A later conversation starts from it. Each question is asked twice, without and with the memory.
        for question in ASKED:
            print(f"\n{question}")
            for use_memory in (False, True):
                later = ChatSession(model, detector, state, use_memory, options.max_new_tokens)
                answer = later.answer(question)
                print(f"  {'with memory' if answer.memory_acted else 'bare LM'}: {answer.text}")


if __name__ == "__main__":
    main()
