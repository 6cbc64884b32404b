"""LSTM-gated preference memory for a frozen causal language model."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# setup.cfg installs the sibling folders as children of this one; in a bare checkout they lie beside it.
_HERE = Path(__file__).resolve().parent
if not (_HERE / "modeling").is_dir():
    __path__.append(str(_HERE.parent))

# PEFT has no plug-ins: whoever imports the package can load its adapters from then on.
import_module("pref_lstm.modeling")

if TYPE_CHECKING:
    from pref_lstm.hub_pair import HubModel as HubModel
    from pref_lstm.hub_pair import push_to_hub as push_to_hub
    from pref_lstm.modeling import Detection as Detection
    from pref_lstm.modeling import Detector as Detector
    from pref_lstm.modeling import HeuristicDetector as HeuristicDetector
    from pref_lstm.modeling import MemoryState as MemoryState
    from pref_lstm.modeling import PrefLSTMForCausalLM as PrefLSTMForCausalLM
    from pref_lstm.modeling import PrefMemory as PrefMemory
    from pref_lstm.modeling import PrefMemoryConfig as PrefMemoryConfig
    from pref_lstm.modeling import Turn as Turn
    from pref_lstm.modeling import TurnEncoder as TurnEncoder
    from pref_lstm.modeling import load_default_detector as load_default_detector
    from pref_lstm.modeling import load_default_model as load_default_model
    from pref_lstm.modeling import load_detector as load_detector
    from pref_lstm.modeling import load_language_model as load_language_model
    from pref_lstm.session import ChatSession as ChatSession
    from pref_lstm.user_store import UserStore as UserStore

_WHERE = {
    "ChatSession": "pref_lstm.session",
    "Detection": "pref_lstm.modeling",
    "Detector": "pref_lstm.modeling",
    "HeuristicDetector": "pref_lstm.modeling",
    "HubModel": "pref_lstm.hub_pair",
    "MemoryState": "pref_lstm.modeling",
    "PrefLSTMForCausalLM": "pref_lstm.modeling",
    "PrefMemory": "pref_lstm.modeling",
    "PrefMemoryConfig": "pref_lstm.modeling",
    "Turn": "pref_lstm.modeling",
    "TurnEncoder": "pref_lstm.modeling",
    "UserStore": "pref_lstm.user_store",
    "load_default_detector": "pref_lstm.modeling",
    "load_default_model": "pref_lstm.modeling",
    "load_detector": "pref_lstm.modeling",
    "load_language_model": "pref_lstm.modeling",
    "push_to_hub": "pref_lstm.hub_pair",
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> object:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
