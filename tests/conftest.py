"""Every test runs offline, on one thread, from a fixed seed."""

import os
import socket

os.environ["HF_HUB_OFFLINE"] = "1"
# Read when huggingface_hub is imported: where a fake Hub listens in the tests that start one.
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{probe.getsockname()[1]}"

import pytest
import torch
import transformers

torch.set_num_threads(1)
transformers.utils.logging.disable_progress_bar()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def models():
    """A store's model for each cell."""
    from tiny import CELLS
    from tiny_store import make_store_model

    return {cell: make_store_model(cell, num_slots=8) for cell in CELLS}


@pytest.fixture
def path(tmp_path):
    """Where a test keeps its user store."""
    return tmp_path / "users.db"


@pytest.fixture
def store(path, models):
    """An open user store with the default cell."""
    from tiny_store import open_store

    with open_store(path, models["slots"]) as store:
        yield store


@pytest.fixture(scope="session")
def hub_folders(tmp_path_factory):
    """An adapter and a classifier as training leaves them, beside the models that they name."""
    from tiny_hub import save_models

    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def hub_server():
    """The fake Hub that `HF_ENDPOINT` names."""
    from fake_hub import FakeHub

    hub = FakeHub(int(os.environ["HF_ENDPOINT"].rpartition(":")[2]))
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


@pytest.fixture
def hub(hub_server, hub_folders, tmp_path, monkeypatch):
    """A fake Hub with an LM and two encoders, an owner who is logged in, and an empty cache."""
    from fake_hub import TOKEN
    from huggingface_hub import constants
    from tiny_hub import fill_hub

    hub_server.reset()
    fill_hub(hub_server, hub_folders)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the fake Hub has no such storage
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub_server
