"""Models, memory and the PEFT method. Importing this registers the method with PEFT."""

from .cell import MemoryCell
from .configuration_pref_memory import PEFT_TYPE, PrefMemoryConfig
from .heuristic_detector import HeuristicDetector
from .memory_state import MemoryState
from .modeling_pref_lstm import PrefLSTMForCausalLM
from .outputs import EncodedTurn, EncoderPass, MemoryReadout
from .peft_method import PrefMemoryLayer, PrefMemoryModel, register
from .placeholder import insert_placeholders, pick_memory_token_id
from .pref_memory import PrefMemory
from .prompt import build_prompt
from .resolve import load_language_model, resolve_encoder, resolve_model
from .turn import Detection, Detector, Turn
from .turn_encoder import TurnEncoder

__all__ = [
    "PEFT_TYPE",
    "Detection",
    "Detector",
    "EncodedTurn",
    "EncoderPass",
    "HeuristicDetector",
    "MemoryCell",
    "MemoryReadout",
    "MemoryState",
    "PrefLSTMForCausalLM",
    "PrefMemory",
    "PrefMemoryConfig",
    "PrefMemoryLayer",
    "PrefMemoryModel",
    "Turn",
    "TurnEncoder",
    "build_prompt",
    "insert_placeholders",
    "load_language_model",
    "pick_memory_token_id",
    "register",
    "resolve_encoder",
    "resolve_model",
]
