"""Which files of a folder are published. Users' memories never are, nor is anything that holds a token."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from huggingface_hub import get_token

from pref_lstm.hub_cards import check_files

PICTURE = "results.png"
PUBLISHED = {
    "adapter": ("adapter_config.json", "adapter_model.safetensors"),
    "classifier": (
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
        "vocab.txt",
    ),
}  # fmt: skip
_SQLITE = b"SQLite format 3\x00"
_SQLITE_SUFFIXES = (".sqlite", ".sqlite3", ".db", "-wal", "-shm", "-journal")
_TOKEN = re.compile(rb"\bhf_[A-Za-z0-9]{20,}")
_MAX_HEADER = 1 << 20


def copy_published(kind: str, source: Path, target: Path) -> list[str]:
    """
    Copy what is published of a saved model, and nothing else.

    Args:
        kind (`str`): `"adapter"` or `"classifier"`.
        source (`Path`): The saved model's folder.
        target (`Path`): An empty folder.

    Returns:
        `list[str]`: the files and folders that are left out. The card is none of them: it is written anew.

    Raises:
        FileNotFoundError: if `source` holds no such model.
        ValueError: if there are users' memories anywhere below `source`.
    """
    check_files(kind, source)
    refuse_user_data(source)
    for name in PUBLISHED[kind]:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    return sorted(path.name for path in source.iterdir() if path.name not in (*PUBLISHED[kind], "README.md"))


def refuse_user_data(folder: Path) -> None:
    """
    Raises:
        ValueError: if a file below `folder` is a SQLite database or a memory state. The message names no file: files
            of users' memories may be called after the users.
    """
    kinds = [kind for path in sorted(folder.rglob("*")) if path.is_file() and (kind := _user_data(path))]
    if kinds:
        found = ", ".join(f"{kinds.count(kind)} x {kind}" for kind in sorted(set(kinds)))
        raise ValueError(
            f"A folder to publish must hold no user's memory, but below '{folder.name}' there are: {found}. "
            "Move them to another folder, and check that none was published before."
        )


def refuse_secrets(folder: Path) -> None:
    """
    Raises:
        ValueError: if a file to publish holds a Hub token, or the configuration a path of this computer.
    """
    own = (get_token() or "").encode()
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        if _TOKEN.search(content) or (own and own in content):
            raise ValueError(
                f"'{path.name}' must hold no secret, but a Hub token stands in it. Take it out, and revoke the token."
            )
        if path.name in ("adapter_config.json", "config.json", "tokenizer_config.json"):
            for name, value in json.loads(content).items():
                is_name = name.endswith("name_or_path") and isinstance(value, str)
                if is_name and (Path(value).is_absolute() or Path(value).is_dir()):
                    raise ValueError(
                        f"`{name}` in '{path.name}' must be a hub id, which everybody can load, got a folder of this "
                        "computer. Write the hub id there."
                    )


def _user_data(path: Path) -> str | None:
    """What kind of users' memory a file is, told by what it holds and not by its name alone."""
    with path.open("rb") as file:
        start = file.read(16)
        if start == _SQLITE or path.name.endswith(_SQLITE_SUFFIXES):
            return "SQLite database"
        length = int.from_bytes(start[:8], "little")
        if not 2 <= length <= _MAX_HEADER:
            return None
        file.seek(8)
        header = file.read(length)
    try:
        form = json.loads(header)["__metadata__"]["format"]
    except (ValueError, KeyError, TypeError):
        return None
    return "memory state" if str(form).startswith("pref_lstm.") else None
