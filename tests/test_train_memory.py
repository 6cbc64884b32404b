"""The training command on tiny models: what it learns, what it leaves alone, and resuming."""

import json
import os
import shutil
import subprocess
import sys

import torch
from pref_lstm.training.bank import bank_fingerprint
from pref_lstm.training.train_memory import main
from refused import refused
from safetensors.torch import load_file
from tiny_bank import bank_files, training_files


def weights(folder):
    return load_file(folder / "adapter" / "adapter_model.safetensors")


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, capsys):
    options = training_files(tmp_path)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main([*options, "--output-dir", str(whole)]) == 0
    # As if it had been killed: the first stage was whole, the others had taken two steps.
    for stage, step in (("keys", 4), ("retrieval", 2), ("relations", 2), ("reconstruction", 2), (".", 2)):
        shutil.copytree(whole / stage / f"checkpoint-{step}", cut / stage / f"checkpoint-{step}")
        # Killed while it saved the next one: the state is what comes last.
        (cut / stage / f"checkpoint-{step + 1}").mkdir()
    assert main([*options, "--output-dir", str(cut)]) == 0
    expected = weights(whole)
    for name, tensor in weights(cut).items():
        assert torch.equal(tensor, expected[name]), name
    assert f"saved '{cut / 'adapter'}' after" in capsys.readouterr().out


def test_the_report_says_what_was_done(tmp_path):
    report = tmp_path / "r.json"
    assert main([*training_files(tmp_path), "--output-dir", str(tmp_path / "run"), "--json", str(report)]) == 0
    found = json.loads(report.read_text())
    assert (
        found["steps"] == 4
        and found["conversations"] == {"reconstruction": 24, "answers": 27}
        and found["bank"] == bank_fingerprint(bank_files(tmp_path))
    )
    assert {"loss", "loss_distill", "loss_nll"} <= found["log"][0].keys()
    assert (tmp_path / "run" / "training.json").read_text() == report.read_text()


def test_every_part_of_the_memory_learns_and_the_lm_does_not(tmp_path):
    """A rate of 0 leaves all as it was: what differs from that was learnt."""
    options = training_files(tmp_path)
    lm = (tmp_path / "lm" / "model.safetensors").read_bytes()
    assert main([*options, "--output-dir", str(tmp_path / "run")]) == 0
    still = training_files(tmp_path, learning_rate=0.0)
    assert main([*still, "--output-dir", str(tmp_path / "still")]) == 0
    assert (tmp_path / "lm" / "model.safetensors").read_bytes() == lm
    learnt, start = weights(tmp_path / "run"), weights(tmp_path / "still")
    moved = {name.split(".cell.")[-1].split(".")[0] for name in learnt if not torch.equal(learnt[name], start[name])}
    assert {"frame", "transform"} <= moved


def test_in_bfloat16_only_the_lm_and_the_reader_of_pairs_compute(tmp_path):
    options = training_files(tmp_path)
    assert main([*options, "--output-dir", str(tmp_path / "float32")]) == 0
    command = [sys.executable, "-m", "pref_lstm.training.train_memory", *options, "--bf16"]
    # A process of its own: accelerate keeps the first precision it hears of.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # as the tests' own process, for equal sums
    command += ["--output-dir", str(tmp_path / "bfloat16")]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    exact, fast = weights(tmp_path / "float32"), weights(tmp_path / "bfloat16")
    differ = {name.split("pref_memory_cell.")[1] for name in exact if not torch.equal(exact[name], fast[name])}
    computed = ("cell.transform", "cell.frame", "cell.blank", "relation_encoder")
    assert {name for name in differ if name.startswith(computed)} == differ
    assert any(name.startswith("cell.transform") for name in differ)


def test_a_finished_run_only_loads_its_weights(tmp_path):
    """Also where the recipe counts epochs and not steps."""
    options = training_files(tmp_path, max_steps=-1, num_train_epochs=1, save_steps=3)
    assert main([*options, "--output-dir", str(tmp_path / "run")]) == 0
    first, log = weights(tmp_path / "run"), json.loads((tmp_path / "run" / "training.json").read_text())
    assert main([*options, "--output-dir", str(tmp_path / "run")]) == 0
    again = json.loads((tmp_path / "run" / "training.json").read_text())
    assert again["train_seconds"] == 0 and again["steps"] == log["steps"] == 9
    assert all(torch.equal(tensor, first[name]) for name, tensor in weights(tmp_path / "run").items())
    # Two thirds of the epoch: not finished.
    shutil.rmtree(tmp_path / "run" / "checkpoint-9")
    assert main([*options, "--output-dir", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run" / "training.json").read_text())["train_seconds"] > 0
    assert all(torch.equal(tensor, first[name]) for name, tensor in weights(tmp_path / "run").items())


def test_a_folder_of_another_run_is_refused(tmp_path):
    options = [*training_files(tmp_path), "--output-dir", str(tmp_path / "run")]
    assert main([*options, "--max-steps", "1"]) == 0
    message = (
        f"'{tmp_path / 'run'}' must be the folder of the same run, but what it was started with differs in ['seed']. "
        "Pass another folder, or remove this one: its checkpoints would be taken for those of this run."
    )
    with refused(ValueError, message):
        main([*options, "--seed", "1"])
    assert main([*options, "--max-steps", "2"]) == 0  # further on is the same run
