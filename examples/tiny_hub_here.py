"""A Hub on this machine with tiny models to publish: the one of the tests, started before Hugging Face is imported."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))


def start_hub(folder: Path) -> tuple[str, Path]:
    """Start it, and write `adapter` and `classifier` below `folder`; returns a repository's name and `folder`."""
    from fake_hub import TOKEN, FakeHub

    hub = FakeHub()
    os.environ |= {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "0"}
    os.environ["HF_HUB_DISABLE_XET"] = "1"  # this Hub has no such storage
    from tiny_hub import ADAPTER, fill_hub, save_models

    fill_hub(hub, save_models(folder))
    return ADAPTER, folder
