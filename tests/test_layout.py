"""The source tree: what is packaged, who imports whom and how, no second copy of a module, no overlong file."""

import ast
import configparser
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("modeling", "training", "hub_cards")
ARROWS = {
    "modeling": {"modeling"},
    "hub_cards": {"hub_cards"},
    "training": {"training", "modeling", "hub_cards"},
    "pref_lstm": {"pref_lstm", "modeling", "training", "hub_cards"},
}
# Modules that need an extra; without it they say so.
OPTIONAL = {"app_page": "gradio"}
SOURCES = sorted(path for folder in ARROWS for path in (ROOT / folder).glob("*.py"))


def imports(path):
    """`(level, module)` of every import, wherever it stands in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield node.level, node.module or ""
        elif isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)


def test_every_folder_is_packaged():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    packages = setup["options"]["packages"].split()
    assert packages == ["pref_lstm", *(f"pref_lstm.{folder}" for folder in FOLDERS)]
    assert setup["options"]["package_dir"].split("\n")[1:] == [f"pref_lstm.{f} = {f}" for f in FOLDERS]
    folders = {path.parent for name in ARROWS for path in (ROOT / name).rglob("*.py")}
    assert folders == {ROOT / name for name in ARROWS}  # flat: a folder below one would be left out of the wheel


def test_no_module_is_imported_twice():
    modules = [
        f"pref_lstm.{path.parent.name}.{path.stem}" if path.parent.name != "pref_lstm" else f"pref_lstm.{path.stem}"
        for path in SOURCES
        if path.stem not in ("__init__", "__main__") and find_spec(OPTIONAL.get(path.stem, "pref_lstm"))
    ]
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'modeling', 'training', 'hub_cards'}))"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *modules], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_imports_follow_the_arrows(path):
    own = path.parent.name
    for level, module in imports(path):
        assert level <= 1, f"'{'.' * level}{module}' crosses folders: write it absolute"
        if level == 1:
            continue
        top, _, rest = module.partition(".")
        assert top not in FOLDERS, f"'{module}' would be a second copy: write 'pref_lstm.{module}'"
        if top != "pref_lstm":
            continue
        target = rest.partition(".")[0] if rest.partition(".")[0] in FOLDERS else "pref_lstm"
        assert target in ARROWS[own], f"{own} must not import {target}"
        assert target != own or own == "pref_lstm", f"'{module}' stands in the same folder: write it relative"


@pytest.mark.parametrize(
    "path", [*SOURCES, *sorted((ROOT / "tests").glob("*.py"))], ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_no_file_is_over_400_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
