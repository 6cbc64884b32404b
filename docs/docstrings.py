"""Docstrings in the grammar of transformers, as mkdocstrings reads them: types bare, references linked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from griffe import Extension, Object

# ``name (`type` of …, *optional*, defaults to …): text``, as the first words of an argument
_ARGUMENT = re.compile(r"^(\s*[\w, *]+) \(([^:\n]*)\):", re.MULTILINE)
_REFERENCE = re.compile(r"\[`~?([^`\]]+)`\](?![(\[])")
_PAGE = Path(__file__).with_name("api.md").read_text(encoding="utf-8")
_PATHS = {path.rpartition(".")[2]: path for path in re.findall(r"^::: (\S+)$", _PAGE, re.MULTILINE)}


class HouseDocstrings(Extension):
    """Rewrites every docstring before it is parsed."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        """Leave the bare type of each argument, and link ``[`Name`]`` where the page has it."""
        if obj.docstring is not None:
            text = _ARGUMENT.sub(_bare_type, obj.docstring.value)
            obj.docstring.value = _REFERENCE.sub(_link, text)


def _bare_type(found: re.Match[str]) -> str:
    kind = re.sub(r"[`*~]|\[(?=`)|(?<=`)\]|,? \*optional\*|,? defaults to .*", "", found[2])
    return f"{found[1]} ({kind}):" if kind else f"{found[1]}:"


def _link(found: re.Match[str]) -> str:
    name, _, member = found[1].partition(".")
    return f"[`{found[1]}`][{_PATHS[name]}{'.' * bool(member)}{member}]" if name in _PATHS else f"`{found[1]}`"
