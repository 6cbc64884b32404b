"""Training in two processes under accelerate, on the CPU: both end with one adapter, that of one process."""

import json
import os
import socket
import subprocess
import sys

import torch
from pref_lstm.training.train_memory import main
from safetensors.torch import load_file
from tiny_bank import training_files

# What a process's memory is at the end; only the first process writes an adapter.
SCRIPT = """
import json, os, sys
from accelerate import PartialState
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM
from pref_lstm.training.train_memory import main
from safetensors.torch import save_file

make, made = PrefLSTMForCausalLM.from_language_model, []
PrefLSTMForCausalLM.from_language_model = lambda *args: made.append(make(*args)) or made[-1]
for options in json.loads(sys.argv[1]):
    assert main(options) == 0
    process = PartialState()
    assert process.num_processes == 2 and process.device.type == "cpu"
    save_file(made[-1].memory.state_dict(), f"{options[-1]}/process{process.process_index}.safetensors")
process.destroy_process_group()
os._exit(0)
"""


def write_recipe(folder, name, **changes):
    recipe = {**json.loads((folder / "recipe.json").read_text()), **changes}
    for stage in ("keys", "retrieval", "relations", "reconstruction"):
        if recipe["memory"]["cell"] == "prompt":
            del recipe[stage]
    (folder / name).write_text(json.dumps(recipe))
    return str(folder / name)


def test_two_processes_end_with_one_adapter(tmp_path):
    options = training_files(tmp_path)[2:]
    recipe = json.loads((tmp_path / "recipe.json").read_text())
    prompt = {
        "memory": {**recipe["memory"], "cell": "prompt", "num_key_layers": 0, "num_relation_layers": 0},
        # Answers of one length: the mean over a process's tokens then is the mean over all.
        "data": {"conversations": {"first": 6}, "epochs": 2, "num_turns": [1]},
    }
    steps = {**recipe["training"], "max_steps": 2}
    slots = {"memory": {**recipe["memory"], "cell": "slots"}, "training": steps}
    halves = write_recipe(tmp_path, "halves.json", **prompt, training={**steps, "per_device_train_batch_size": 3})
    whole = write_recipe(tmp_path, "whole.json", **prompt, training={**steps, "per_device_train_batch_size": 6})
    runs = {
        "slots": ["--recipe", write_recipe(tmp_path, "slots.json", **slots), *options],
        "prompt": ["--recipe", halves, *options],
    }
    runs = [[*run, "--output-dir", str(tmp_path / name)] for name, run in runs.items()]
    (tmp_path / "script.py").write_text(SCRIPT)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    # `--cpu` would start one process alone; `--use-cpu` among the command's own options keeps both off accelerators.
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
               "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", port,
               str(tmp_path / "script.py"), json.dumps(runs)]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("slots", "prompt"):
        first, second = (load_file(tmp_path / name / f"process{i}.safetensors") for i in range(2))
        saved = load_file(tmp_path / name / "adapter" / "adapter_model.safetensors")
        assert len(saved) == len(first)
        assert all(torch.equal(second[key], tensor) for key, tensor in first.items())
        assert all(torch.equal(tensor, first[key.split("pref_memory_cell.")[1]]) for key, tensor in saved.items())

    assert main(["--recipe", whole, *options, "--output-dir", str(tmp_path / "one")]) == 0
    alone = load_file(tmp_path / "one" / "adapter" / "adapter_model.safetensors")
    for key, tensor in load_file(tmp_path / "prompt" / "adapter" / "adapter_model.safetensors").items():
        torch.testing.assert_close(tensor, alone[key], atol=1e-6, rtol=1e-3)  # stored in 16 bits
