"""Every example runs with `--tiny`, as a user would start it, and does what its first lines say."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SCRIPTS = sorted(EXAMPLES.glob("[0-9]*.py"))


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    """Runs one example in an empty folder and returns what it printed."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.chdir(tmp_path)

    def run(number: int, *options: str) -> str:
        [script] = EXAMPLES.glob(f"{number:02}_*.py")
        monkeypatch.setattr(sys, "argv", [str(script), "--tiny", *options])
        runpy.run_path(str(script), run_name="__main__")
        return capfd.readouterr().out

    return run


def test_load_and_chat(run):
    out = run(1)
    assert [line.split("  ")[0].strip() for line in out.splitlines()[:3]] == ["written", "written", "left out"]
    assert " holds: " in out and "bytes, however much was said" in out
    assert out.count("bare LM:") == out.count("with memory:") == 2


def test_train_the_memory_of_another_lm(run, tmp_path):
    out = run(2, "--output-dir", "run")
    assert "saved 'run/adapter' after" in out and "What should I cook tonight?" in out.splitlines()[-1]
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["memory"]["num_soft_tokens"] == 6


def test_train_the_classifier_on_own_labels(run, tmp_path):
    out = run(3, "--output-dir", "run")
    figures = json.loads(out[out.rindex("{") :])
    config = json.loads((tmp_path / "run" / "classifier" / "config.json").read_text())
    assert figures["n"] == 4 and figures["threshold"] == config["threshold"]


def test_evaluate_on_own_questions(run, tmp_path):
    out = run(4, "--output-dir", "run")
    assert "1 stored: recovery" in out and "2 stored: recovery" in out
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"figures.json", "plot.png", "questions"}


def test_publish_to_a_hub_of_its_own(tmp_path):
    """In a process of its own: the address of a Hub is read once, on import."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    command = [sys.executable, "-W", "ignore", str(EXAMPLES / "05_publish.py"), "--tiny"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "library_name:" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("with the detector of tester/memory-classifier")


def test_plain_generate_and_a_loop_by_hand(run):
    out = run(6)
    assert out.count("What should I cook tonight? ->") == 2 and "the same by hand: True" in out


def test_two_processes_with_accelerate(run):
    out = run(7)
    assert "accelerate_ddp_cpu.yaml" in out and out.count("/run/adapter' after") == 1


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_an_example_is_short_and_says_how_to_run_it(script):
    lines = script.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 80
    assert f"    python examples/{script.name}" in "\n".join(lines[:12])
