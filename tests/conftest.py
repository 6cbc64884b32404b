"""Every test runs offline, on one thread, from a fixed seed."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

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
