"""A bank of a few preferences, and the files of a training run on tiny models."""

import json

from tiny import ENCODER_WIDTH, make_encoder, make_lm, make_tokenizer

TOPICS = ("tea", "cats", "trains", "rain", "books", "bread")


def bank_rows():
    """Six preferences of each file's kind, and their topics."""
    first = [
        {
            "topic": topic, "kind": "like", "polarity": 1, "thing": topic, "explicit": f"I love {topic}",
            "casual": f"{topic} yes", "implicit": {"agent": f"Some {topic}?", "user": "every day"},
            "opposite": f"I hate {topic}", "questions": [f"what {n} now" for n in ("one", "two", "three")],
            "answers": [f"Since you love it. Take {topic} twice", f"Take {topic}"], "opposite_answer": "No. Take none",
        }
        for topic in TOPICS
    ]  # fmt: skip
    topics = [{"topic": t, "things": [f"{t} {i}" for i in range(20)], "questions": ["why", "how"]} for t in TOPICS]
    second = [
        {
            "topic": topic, "preference": f"only {topic} for me", "same": f"give me {topic}",
            "reversed": f"never {topic}", "different": f"small {topic} please", "questions": ["who", "when", "where"],
            "answer": f"As you only want {topic}: here", "reversed_answer": "As you never do: there",
        }
        for topic in TOPICS
    ]  # fmt: skip
    return {"bank.jsonl": [*first, *topics], "bank_pairs.jsonl": second}


def bank_files(folder):
    """The bank as files under `folder`; returns their paths."""
    for name, rows in bank_rows().items():
        (folder / name).write_text("\n".join(map(json.dumps, rows)))
    return tuple(folder / name for name in bank_rows())


def training_files(folder, **training):
    """LM, encoder, bank, OASST1-like messages and a recipe under `folder`; returns the command's first options."""
    lm, tokenizer = make_lm("llama"), make_tokenizer()
    lm.save_pretrained(folder / "lm")
    tokenizer.save_pretrained(folder / "lm")
    make_encoder().save(str(folder / "encoder"))
    messages = [
        {"message_id": f"m{i}", "parent_id": None, "message_tree_id": f"t{i}", "role": "prompter", "text": f"count {i}"}
        for i in range(40)
    ]
    (folder / "oasst.jsonl").write_text("\n".join(map(json.dumps, messages)))
    recipe = {
        "description": "slots, tiny",
        "memory": {"num_soft_tokens": 6, "num_frame_tokens": 2, "encoder_hidden_size": ENCODER_WIDTH,
                   "encoder_name_or_path": str(folder / "encoder"), "num_slots": 8, "transform_rank": 8,
                   "relation_size": 6, "num_key_layers": 1, "num_key_heads": 2, "num_relation_layers": 2,
                   "relation_rank": 3},
        "keys": {"max_steps": 4, "save_steps": 2, "save_total_limit": 5, "per_device_train_batch_size": 4},
        "retrieval": {"max_steps": 4, "save_steps": 2, "save_total_limit": 5},
        "relations": {"max_steps": 4, "save_steps": 2, "save_total_limit": 5, "per_device_train_batch_size": 4},
        "reconstruction": {"max_steps": 4, "save_steps": 2, "save_total_limit": 5, "per_device_train_batch_size": 3},
        "training": {"max_steps": 4, "save_steps": 2, "save_total_limit": 5, "per_device_train_batch_size": 3,
                     "logging_steps": 2, **training},
        "teacher": {"strength": 1.0, "late_strength": 0.5, "max_answer_tokens": 12},
        "data": {"conversations": {"first": 6, "opposite": 6, "pair_first": 6, "own": 4, "mismatched": 5}, "epochs": 1,
                 "num_turns": [1, 3]},
    }  # fmt: skip
    (folder / "recipe.json").write_text(json.dumps(recipe))
    return ["--recipe", str(folder / "recipe.json"), "--lm", str(folder / "lm"), "--oasst", str(folder / "oasst.jsonl"),
            "--bank", *map(str, bank_files(folder)), "--use-cpu", "--data-dir", str(folder / "data")]  # fmt: skip
