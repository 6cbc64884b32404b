"""A folder in PrefEval's layout with invented sentences, an OASST1 file, and a tiny adapter with its LM and encoder."""

import json
from pathlib import Path

import torch
from tiny import make_encoder, make_lm, make_model, make_tokenizer

TOPICS = {
    "drinks": [
        ("i hate coffee", "what should i drink tonight ?", "try green tea , it is good and without coffee"),
        ("i love black coffee", "what can i read in the city ?", "black coffee in the quiet city is good"),
        ("i never want green tea", "what drink should i cook ?", "avoid green tea and try coffee"),
    ],
    "travel": [
        ("i hate trains", "how can i visit the city ?", "avoid trains and plan a trip without trains"),
        ("i love quiet maps", "what trip should i plan ?", "a quiet trip with maps is good for you"),
    ],
    "sounds": [
        ("i prefer jazz", "what music is good for dinner ?", "some jazz is good for dinner , you love jazz"),
        ("i avoid loud music", "where should i read tomorrow ?", "read in a quiet and dry room without loud music"),
    ],
}
UNRELATED = ["where is the sun ?", "rain is here", "i love long answers", "how long is one trip ?"]


def write_prefeval(folder: Path, answers: bool = True) -> Path:
    """Write the data set, all forms, and return its folder."""
    parts: dict[str, dict[str, list[dict]]] = {}
    for topic, rows in TOPICS.items():
        for preference, question, answer in rows:
            row = {"preference": preference, "question": question}
            choice = {"query": "tea or coffee ?", "assistant_options": "one tea , two coffee",
                      "user_selection": f"one , {preference}", "assistant_acknowledgment": "good"}  # fmt: skip
            persona = {
                "0": {"user": "rain again", "assistant": "yes ?"},
                "1": {"user": preference, "assistant": "good"},
            }
            options = [answer.split(" and ")[0], "the rain", "cats and dogs", "a long long visit"]
            for part, extra in {
                "benchmark_dataset/explicit_preference": {},
                "benchmark_dataset/implicit_preference/choice-based": {"conversation": choice},
                "benchmark_dataset/implicit_preference/persona-driven": {"conversation": persona},
                "benchmark_dataset/mcq_options": {"classification_task_options": options},
                **({"reminder_answers": {"response_to_q": (answer + " ") * 6}} if answers else {}),
            }.items():
                parts.setdefault(part, {}).setdefault(topic, []).append({**row, **extra})
    for part, topics in parts.items():
        (folder / part).mkdir(parents=True)
        for topic, rows in topics.items():
            (folder / part / f"{topic}.json").write_text(json.dumps(rows))
    said = [({"role": "user", "content": text}, {"role": "assistant", "content": "good"}) for text in UNRELATED]
    dialogue = [message for pair in said for message in pair]
    path = folder / "benchmark_dataset" / "filtered_inter_turns.json"
    path.write_text(json.dumps([{"conversation": dialogue}]))
    return folder


def write_oasst(path: Path, trees: int = 8) -> Path:
    """Write prompts with one reply each; about half of the trees are held out."""
    rows = []
    for i in range(trees):
        tree = {"message_tree_id": f"tree {i}"}
        prompt = {"message_id": f"p{i}", "parent_id": None, "role": "prompter", "text": "where is the sun ?"}
        rows.append({**tree, **prompt})
        reply = {"message_id": f"r{i}", "parent_id": f"p{i}", "role": "assistant", "text": "the sun is here", "rank": 0}
        rows.append({**tree, **reply})
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def write_adapter(folder: Path, cell: str = "slots", family: str = "llama", seed: int = 0) -> Path:
    """Save a tiny memory that names the tiny LM and encoder saved beside it; returns the adapter's folder."""
    make_lm(family, seed).save_pretrained(folder / "lm")
    make_tokenizer().save_pretrained(folder / "lm")
    make_encoder().save(str(folder / "encoder"))
    model = make_model(family, cell, seed)
    with torch.no_grad():
        # Open for every question: a closed gate would make all memories alike.
        last = model.memory.cell.gate[-1].bias if cell == "slots" else model.memory.cell.gate_bias
        last.fill_(30.0)
    config = model.memory_config
    config.base_model_name_or_path = str(folder / "lm")
    config.encoder_name_or_path = str(folder / "encoder")
    model.save_pretrained(folder / "adapter")
    return folder / "adapter"
