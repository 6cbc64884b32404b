"""The files around the code: dependencies with their reasons, one version everywhere, the workflow, the citation."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from pathlib import Path

import pytest
import yaml

import pref_lstm

ROOT = Path(__file__).resolve().parent.parent
# Names under which packages are imported, where that is not their own.
IMPORTS = {"sklearn": "scikit-learn", "sentence_transformers": "sentence-transformers"}


def setup() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def names(requirements: str) -> list[str]:
    """Package names of a list in setup.cfg; `%(extra)s` stands for another extra."""
    return [re.split(r"[<>=\[; ]", line)[0] for line in requirements.split("\n") if line and not line.startswith("%(")]


def rows() -> list[list[str]]:
    lines = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [row for row in cells if row[0] not in ("package", "extra") and not row[0].startswith("---")]


def test_each_dependency_has_one_reason() -> None:
    table = rows()
    assert [row[0] for row in table if len(row) == 2] and all(row[-1] for row in table)
    assert sorted(row[0] for row in table if len(row) == 2) == sorted(names(setup()["options"]["install_requires"]))


def test_each_dependency_of_an_extra_has_one_reason() -> None:
    extras = setup()["options.extras_require"]
    declared = [
        (extra, name)
        for extra, requirements in configparser.RawConfigParser.items(setup(), "options.extras_require", raw=True)
        for name in names(requirements)
    ]
    assert sorted((row[0].strip("`"), row[1]) for row in rows() if len(row) == 3) == sorted(declared)
    assert {"heuristic", "test", "dev", "docs"} <= set(extras)


def test_what_is_imported_is_declared() -> None:
    config = setup()
    declared = set(names(config["options"]["install_requires"]))
    for extra in ("heuristic", "app"):
        declared |= set(names(config["options.extras_require"][extra]))
    imported = set()
    for folder in ("pref_lstm", "modeling", "training", "hub_cards"):
        for path in (ROOT / folder).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.level == 0:
                    imported.add((node.module or "").partition(".")[0])
                elif isinstance(node, ast.Import):
                    imported |= {alias.name.partition(".")[0] for alias in node.names}
    foreign = imported - set(sys.stdlib_module_names) - {"pref_lstm"}
    assert sorted({IMPORTS.get(name, name) for name in foreign} - declared) == []


def test_changelog_and_citation_name_the_version() -> None:
    headings = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert headings[0] == citation["version"] == pref_lstm.__version__
    assert citation["license"] == setup()["metadata"]["license"]
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["references"][0]["identifiers"][0]["value"] == "arXiv:2507.03042"


def test_the_workflow_runs_what_ci_runs() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    [job] = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda p: p.name)
def test_issue_templates_are_forms(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.name == "config.yml":
        assert form["blank_issues_enabled"] is True
        return
    assert {"name", "description", "body"} <= form.keys()
    ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
    assert len(ids) == len(set(ids))
