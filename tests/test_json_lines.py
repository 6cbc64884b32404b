"""Files of JSON lines: what ends a line, and what is wrong with one."""

import json

import pytest
from pref_lstm.training.alpsbench import load_alpsbench
from pref_lstm.training.json_lines import read_json_lines
from pref_lstm.training.oasst import load_oasst_prompts
from refused import refused


def test_only_line_feeds_end_a_line(tmp_path):
    rows = [{"a": "tea\u2028cats\u0085\u2029"}, {"a": "rain", "b": 1}]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n  \n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", encoding="utf-8")
    assert read_json_lines(file, ["a"]) == rows


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"a": 1', "no JSON (Expecting ',' delimiter)"),
        ("3", "a int"),
        ('{"b": 1}', "no `a` and no `c`"),
        ('{"a": 1, "c": 2}', "one too few"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(line, found, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"a": 2, "c": 2}\n\n' + line)
    with refused(ValueError, f"rows.jsonl, line 3: expected an object with `a`, `c`, got {found}. Mend the line."):
        read_json_lines(file, ["a", "c"], lambda row: "one too few" if row["a"] == 1 else "")


@pytest.mark.parametrize("load", [load_oasst_prompts, load_alpsbench])
def test_another_file_s_rows_are_refused(load, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"a": 2}\n')
    with pytest.raises(ValueError, match=r"^rows\.jsonl, line 1: expected an object with .*, got no `"):
        load(file)
