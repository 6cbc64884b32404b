"""LSTM-gated preference memory for a frozen causal language model."""

from pathlib import Path

__version__ = "0.1.0"

# setup.cfg installs the sibling folders as children of this one; in a bare checkout they lie beside it.
_HERE = Path(__file__).resolve().parent
if not (_HERE / "modeling").is_dir():
    __path__.append(str(_HERE.parent))
