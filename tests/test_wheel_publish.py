"""The installed package, by itself: it publishes a pair to a Hub, and another process opens the pair from there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_hub import TOKEN, FakeHub
from tiny_hub import ADAPTER, CLASSIFIER, fill_hub, save_models

OPEN = f"""
from pref_lstm import PrefLSTMForCausalLM, Turn

model = PrefLSTMForCausalLM.from_pretrained("{ADAPTER}")
print(model.detector.threshold, model.write([Turn("I love green tea.")], model.initial_state()).batch_size)
"""


@pytest.fixture
def hub(tmp_path):
    """A Hub with the models that the pair names, and the pair in `adapter` and `classifier`."""
    hub = FakeHub()
    fill_hub(hub, save_models(tmp_path))
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


@pytest.fixture
def run(hub, tmp_path):
    """Runs Python outside the checkout as the owner of the Hub's repositories; returns what it printed."""

    def run(*words: str, home: str) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        environment |= {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / home),
                        "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-W", "ignore", *words],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert TOKEN not in done.stdout + done.stderr
        return done.stdout

    return run


def test_it_publishes_a_pair_that_another_process_opens(hub, run, tmp_path: Path):
    folders = ("--model", str(tmp_path / "adapter"), "--classifier", str(tmp_path / "classifier"))
    out = run("-m", "pref_lstm.cli", "publish", ADAPTER, *folders, "--license", "apache-2.0", home="publisher")
    for repo_id in (ADAPTER, CLASSIFIER):
        repo = hub.repos[repo_id]
        assert repo.private and len(repo.commits) == 2
        assert f"commit {repo.commits[-1][0]}" in out
        assert b"They printed:" in repo.files["README.md"]  # the cards' lines ran, on the installed package
    # An empty cache, as on another computer.
    assert run("-c", OPEN, home="reader") == "0.4 1\n"
