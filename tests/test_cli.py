"""The command line: help of every command, typos, errors in one line, Ctrl-C."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace

import pytest

from pref_lstm import cli


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    assert f"usage: pref-lstm {command}" in capsys.readouterr().out


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    out = capsys.readouterr().out
    assert all(command in out for command in cli.COMMANDS)


def test_a_typo_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["dmeo"])
    assert stop.value.code == 2
    assert "'demo'" in capsys.readouterr().err


def test_an_unknown_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["demo", "--modle", "x"])
    assert stop.value.code == 2
    assert "unrecognized arguments: --modle x" in capsys.readouterr().err


def _fake(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def main(argv: list[str]) -> int:
        raise error

    module = SimpleNamespace(main=main)
    monkeypatch.setattr(cli, "import_module", lambda name: module)


@pytest.mark.parametrize("kind", [ValueError, FileExistsError, TimeoutError, OSError, ImportError])
def test_an_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: type[Exception]
) -> None:
    _fake(monkeypatch, kind("expected this, got that"))
    assert cli.main(["demo"]) == 2
    assert capsys.readouterr().err == "pref-lstm demo: expected this, got that\n"


def test_ctrl_c_ends_quietly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _fake(monkeypatch, KeyboardInterrupt())
    assert cli.main(["demo"]) == 130
    assert capsys.readouterr().err == "\nInterrupted.\n"


def test_commands_name_modules_that_exist() -> None:
    for name, _ in cli.COMMANDS.values():
        assert callable(import_module(name).main)
