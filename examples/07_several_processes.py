"""
Train a memory on several processes with accelerate. The command is the one of a single process, launched.

    python examples/07_several_processes.py --config examples/accelerate_ddp_cpu.yaml -- \\
        --recipe default --oasst en-validation.jsonl --output-dir runs/two --use-cpu

It prints the command that it runs, and what that prints. What follows `--` goes to `pref-lstm train-memory`.
`accelerate_ddp_cpu.yaml` (two processes, no GPU) runs in the tests; `accelerate_fsdp.yaml` was not tried here.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from pref_lstm.training.recipe import load_recipe

DDP_CPU = Path(__file__).with_name("accelerate_ddp_cpu.yaml")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=DDP_CPU, help="accelerate's configuration")
    parser.add_argument("--tiny", action="store_true", help="random weights made on the spot: shows that it runs")
    parser.add_argument("arguments", nargs="*", help="of pref-lstm train-memory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if options.tiny:
            from tiny_models import tiny_training

            # Written before the launch: all processes read the same files.
            options.arguments, changes = tiny_training(Path(name))
            recipe = asdict(load_recipe("default"))
            for part, values in changes.items():
                recipe[part] |= values
            (Path(name) / "recipe.json").write_text(json.dumps(recipe))
            options.arguments += ["--recipe", f"{name}/recipe.json", "--output-dir", f"{name}/run"]

        # The first process caches the teacher's outputs while the others wait; the adapter is saved once.
        launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(options.config)]
        command = [*launch, "-m", "pref_lstm.training.train_memory", *options.arguments]
        print(shlex.join(command), flush=True)
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
